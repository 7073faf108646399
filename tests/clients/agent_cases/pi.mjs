// SPDX-License-Identifier: Apache-2.0
// pi: the long run over chat completions, short ones over the other dialects.
import { bin, countingCases } from './agent.mjs';

const launchAs = (api, base) => (place, server, prompt) => {
  place.write('home/.pi/agent/models.json', { providers: { baltoro: {
    baseUrl: server.url + base, api, apiKey: 'none',
    models: [{ id: server.model, reasoning: true, input: ['text'], contextWindow: 262144, maxTokens: 32000,
               cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 } }],
  } } });
  return place.run(bin('pi'), ['--print', '--provider', 'baltoro', '--model', server.model, '--no-session', prompt],
                   { PI_OFFLINE: '1', PI_TELEMETRY: '0' });
};

export default function cases(options) {
  const make = (api, base, more) => countingCases({
    name: 'pi', tool: 'bash', args: (command) => ({ command }), launch: launchAs(api, base), ...options, ...more });
  return {
    ...make('openai-completions', '/v1', {}),
    ...make('openai-responses', '/v1', { calls: 5, as: 'responses: ', needs: '/v1/responses' }),
    ...make('anthropic-messages', '', { calls: 5, as: 'messages: ', needs: '/v1/messages' }),
  };
}

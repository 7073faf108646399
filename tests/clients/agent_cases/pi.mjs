// SPDX-License-Identifier: Apache-2.0
// pi, over OpenAI's chat completions.
import { bin, countingCases } from './agent.mjs';

const launch = (place, server, prompt) => {
  place.write('home/.pi/agent/models.json', { providers: { baltoro: {
    baseUrl: `${server.url}/v1`, api: 'openai-completions', apiKey: 'none',
    models: [{ id: server.model, reasoning: true, input: ['text'], contextWindow: 262144, maxTokens: 32000,
               cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 } }],
  } } });
  return place.run(bin('pi'), ['--print', '--provider', 'baltoro', '--model', server.model, '--no-session', prompt],
                   { PI_OFFLINE: '1', PI_TELEMETRY: '0' });
};

export default (options) => countingCases({ name: 'pi', tool: 'bash', args: (command) => ({ command }), launch, ...options });

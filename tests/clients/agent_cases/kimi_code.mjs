// SPDX-License-Identifier: Apache-2.0
// Kimi Code: the long run over chat completions as Moonshot speaks them, short ones over the other dialects.
import { bin, countingCases } from './agent.mjs';

const launchAs = (type, base) => (place, server, prompt) =>
  place.run(bin('kimi'), ['--prompt', prompt, '--output-format', 'text'], {
    KIMI_CODE_HOME: `${place.home}/.kimi-code`, KIMI_CODE_NO_AUTO_UPDATE: '1', KIMI_MODEL_PROVIDER_TYPE: type,
    KIMI_MODEL_BASE_URL: server.url + base, KIMI_MODEL_API_KEY: 'none', KIMI_MODEL_NAME: server.model,
    KIMI_MODEL_MAX_CONTEXT_SIZE: '262144',
  });

export default function cases(options) {
  const make = (type, base, more) => countingCases({
    name: 'kimi-code', tool: 'Bash', args: (command) => ({ command }), launch: launchAs(type, base), ...options, ...more });
  return {
    ...make('kimi', '/v1', {}),
    ...make('openai', '/v1', { calls: 5, as: 'openai: ' }),
    ...make('openai_responses', '/v1', { calls: 5, as: 'responses: ', needs: '/v1/responses' }),
    ...make('anthropic', '', { calls: 5, as: 'messages: ', needs: '/v1/messages' }),
  };
}

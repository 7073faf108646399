// SPDX-License-Identifier: Apache-2.0
// Kimi Code, over OpenAI's chat completions as Moonshot speaks them.
import { bin, countingCases } from './agent.mjs';

const launch = (place, server, prompt) =>
  place.run(bin('kimi'), ['--prompt', prompt, '--output-format', 'text'], {
    KIMI_CODE_HOME: `${place.home}/.kimi-code`, KIMI_CODE_NO_AUTO_UPDATE: '1', KIMI_DISABLE_TELEMETRY: '1',
    KIMI_MODEL_PROVIDER_TYPE: 'kimi', KIMI_MODEL_BASE_URL: `${server.url}/v1`, KIMI_MODEL_API_KEY: 'none',
    KIMI_MODEL_NAME: server.model, KIMI_MODEL_MAX_CONTEXT_SIZE: '262144',
  });

export default (options) => countingCases({ name: 'kimi-code', tool: 'Bash', args: (command) => ({ command }), launch, ...options });

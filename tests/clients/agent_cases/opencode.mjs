// SPDX-License-Identifier: Apache-2.0
// opencode, over chat completions through the AI SDK's openai-compatible provider.
import path from 'node:path';
import { here } from '../server.mjs';
import { countingCases } from './agent.mjs';

const program = path.join(here, 'agents', 'node_modules', 'opencode-linux-x64', 'bin', 'opencode');

const launch = (place, server, prompt) => {
  place.write('work/opencode.json', {
    provider: { baltoro: {
      npm: '@ai-sdk/openai-compatible', name: 'baltoro', options: { baseURL: `${server.url}/v1`, apiKey: 'none' },
      models: { [server.model]: { name: server.model, tool_call: true, reasoning: true, limit: { context: 262144, output: 32000 } } },
    } },
    autoupdate: false, share: 'disabled', permission: { bash: 'allow', edit: 'allow' },
  });
  return place.run(program, ['run', '--model', `baltoro/${server.model}`, '--title', 'counting', prompt],
                   { OPENCODE_DISABLE_AUTOUPDATE: '1', OPENCODE_DISABLE_MODELS_FETCH: '1' });
};

export default (options) => countingCases({
  name: 'opencode', tool: 'bash', args: (command) => ({ command, description: 'Writes one line' }), launch, ...options });

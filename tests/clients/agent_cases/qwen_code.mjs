// SPDX-License-Identifier: Apache-2.0
// Qwen Code, over chat completions.
import { bin, countingCases } from './agent.mjs';

const launch = (place, server, prompt) =>
  place.run(bin('qwen'), ['--yolo', '--auth-type', 'openai', '--model', server.model, prompt], {
    OPENAI_BASE_URL: `${server.url}/v1`, OPENAI_API_KEY: 'none', OPENAI_MODEL: server.model, QWEN_TELEMETRY_ENABLED: 'false',
  });

export default (options) => countingCases({
  name: 'qwen-code', tool: 'run_shell_command', launch,
  args: (command) => ({ command, is_background: false, description: 'Writes one line' }), ...options });

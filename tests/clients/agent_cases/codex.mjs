// SPDX-License-Identifier: Apache-2.0
// Codex without a terminal, over OpenAI's Responses.
import { bin, countingCases } from './agent.mjs';

const launch = (place, server, prompt) => {
  place.write('home/.codex/config.toml', `
model = "${server.model}"
model_provider = "baltoro"
[model_providers.baltoro]
name = "baltoro"
base_url = "${server.url}/v1"
env_key = "BALTORO_TEST_KEY"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
`);
  return place.run(bin('codex'), ['exec', '--skip-git-repo-check', '--sandbox', 'danger-full-access', prompt],
                   { BALTORO_TEST_KEY: 'none', CODEX_HOME: `${place.home}/.codex` });
};

export default (options) => countingCases({
  name: 'codex', tool: 'exec_command', needs: '/v1/responses', args: (command) => ({ cmd: command }), launch, ...options });

// SPDX-License-Identifier: Apache-2.0
// Claude Code without a terminal, over Anthropic's Messages. The packages' install scripts do not run here, so the
// program is taken from the platform's package.
import path from 'node:path';
import { here } from '../server.mjs';
import { countingCases } from './agent.mjs';

const program = path.join(here, 'agents', 'node_modules', '@anthropic-ai', 'claude-code-linux-x64', 'claude');

const launch = (place, server, prompt) =>
  place.run(program, ['-p', prompt, '--output-format', 'text', '--allowedTools', 'Bash', '--model', server.model], {
    ANTHROPIC_BASE_URL: server.url, ANTHROPIC_AUTH_TOKEN: 'none', ANTHROPIC_SMALL_FAST_MODEL: server.model,
    ANTHROPIC_DEFAULT_HAIKU_MODEL: server.model, IS_SANDBOX: '1', DISABLE_TELEMETRY: '1', DISABLE_AUTOUPDATER: '1',
    DISABLE_ERROR_REPORTING: '1', CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: '1', CI: '1',
  });

export default (options) => countingCases({
  name: 'claude-code', tool: 'Bash', needs: '/v1/messages', launch,
  args: (command) => ({ command, description: 'Write one line' }), ...options });

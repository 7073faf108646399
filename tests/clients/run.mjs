// SPDX-License-Identifier: Apache-2.0
// Drives real clients against real servers and prints what each could do.
// usage: node run.mjs BALTORO [--json FILE] [--only NAME[,NAME]] [--openapi FILE] [--folder DIR] [--calls N] [--skip-missing]
//   --only     suites, e.g. openai,pi      --openapi  OpenAI's published description (openapi.json)
//   --folder   whose vocabulary the scripted model uses (the bundled ledger model's)      --calls  of a long agent run
// exit 1: a case failed, or what it needs is not installed (--skip-missing: such cases are skipped).
import { existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { here, root, startServer } from './server.mjs';
import { Results } from './results.mjs';

const { values: options, positionals: [baltoro] } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'string' }, only: { type: 'string' }, openapi: { type: 'string' },
             folder: { type: 'string' }, calls: { type: 'string', default: '300' }, 'skip-missing': { type: 'boolean' } },
});
if (!baltoro) throw new Error('usage: node run.mjs BALTORO [options]');
const folder = options.folder ?? path.join(root, 'models', 'ledger');
const only = options.only?.split(',');
const results = new Results();

// Each suite: a module whose default export makes cases, for a server with that script.
const sdkSuites = {
  openai: ['openai'],
  'openai-responses': ['openai'],
  'openai-agents': ['@openai/agents'],
  anthropic: ['@anthropic-ai/sdk'],
  'ai-sdk': ['ai', '@ai-sdk/openai-compatible', '@ai-sdk/moonshotai', '@ai-sdk/openai', '@ai-sdk/anthropic'],
  langchain: ['@langchain/openai', '@langchain/anthropic', '@langchain/core'],
  'openapi-description': ['ajv', 'ajv-formats'],
};
const agentSuites = { pi: '@mariozechner/pi-coding-agent', 'claude-code': '@anthropic-ai/claude-code',
                      codex: '@openai/codex', 'kimi-code': '@moonshot-ai/kimi-code',
                      opencode: 'opencode-linux-x64', 'qwen-code': '@qwen-code/qwen-code' };

const wanted = (name) => !only || only.includes(name);

// False, and told, where a suite's packages are not there.
function installed(suite, place, packages) {
  const missing = packages.filter((name) => !existsSync(path.join(here, place, 'node_modules', name)));
  const why = `not installed: ${missing.join(', ')}`;
  if (missing.length && options['skip-missing']) results.skip(suite, '*', why);
  else if (missing.length) results.add(suite, '*', { error: new Error(why) });
  return missing.length === 0;
}

async function withServer(script, extra, run) {
  const server = await startServer(path.resolve(baltoro),
    [folder, '--scripted', path.resolve(here, 'scripts', script), '--quiet', ...extra]);
  try {
    server.model = (await (await fetch(`${server.url}/v1/models`)).json()).data[0].id;
    const paths = await Promise.all(['/v1/responses', '/v1/messages'].map(async (at) =>
      ((await fetch(server.url + at, { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } })).status === 404 ? null : at)));
    server.serves = (at) => paths.includes(at);
    await run(server);
  } finally {
    const code = await server.stop();
    if (code !== 0) results.add('server', 'ends well', { error: new Error(`exit ${code}: ${server.log.join('').slice(-800)}`) });
  }
}

async function runCases(suite, cases) {
  for (const [name, run] of Object.entries(cases)) await results.time(suite, name, run);
}

async function runSdks() {
  const suites = Object.keys(sdkSuites).filter(wanted);
  if (suites.length === 0) return;
  await withServer('sdk.json', [], async (server) => {
    for (const suite of suites) {
      if (!installed(suite, '.', sdkSuites[suite])) continue;
      try {
        const { default: cases } = await import(`./cases/${suite.replaceAll('-', '_')}.mjs`);
        await runCases(suite, await cases(server, { openapi: options.openapi, skip: (why) => results.skip(suite, '*', why), note: (text) => results.note(suite, text) }));
      } catch (error) {
        results.add(suite, 'starts', { error });
      }
    }
  });
}

async function runAgents() {
  for (const [suite, name] of Object.entries(agentSuites)) {
    if (!wanted(suite) || !installed(suite, 'agents', [name])) continue;
    const { default: cases } = await import(`./agent_cases/${suite.replaceAll('-', '_')}.mjs`);
    await runCases(suite, cases({
      calls: Number(options.calls),
      note: (text) => results.note(suite, text),
      withScript: (script, run) => withServer(script, [], run),
    }));
  }
}

await runSdks();
await runAgents();
if (wanted('bundled-model')) {
  const { default: bundled } = await import('./cases/bundled_model.mjs');
  await bundled(path.resolve(baltoro), results);
}
if (wanted('restart')) {
  const { default: restart } = await import('./cases/restart.mjs');
  await results.time('restart', `${options.calls} calls, killed twice`, () => restart({
    baltoro: path.resolve(baltoro), folder, calls: Number(options.calls), note: (text) => results.note('restart', text) }));
}
results.print();
if (options.json) writeFileSync(options.json, `${JSON.stringify(results.summary(), null, 1)}\n`);
process.exit(results.failed() ? 1 : 0);

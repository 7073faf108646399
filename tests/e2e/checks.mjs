// SPDX-License-Identifier: Apache-2.0
// What the scripts of real clients share: the ledger's tasks and its tool, figures of the server, a run of checks.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { readProgress } from '../../web/server.js';

export const user = (content) => [{ role: 'user', content }];

export const ledgerTool = {
  name: 'get', description: 'Read one ledger entry',
  parameters: { type: 'object', properties: { key: { type: 'string' } }, required: ['key'] },
};
export const ledgerTasks = (folder) =>
  readFileSync(`${folder}/tasks.jsonl`, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line));
// What the tool says to a call of a task.
export const ledgerEntry = (task, { key }) => JSON.stringify(task.ledger[key] ?? { error: 'not found' });

// Every task through runTask(task, index) -> {calls, final}: each call and the answer must be the expected ones.
export async function checkTasks(tasks, runTask, callOf = (call) => call) {
  for (const [index, task] of tasks.entries()) {
    const { calls, final } = await runTask(task, index);
    assert.deepEqual(calls, task.expected_calls.map(callOf), task.id);
    assert.equal(final, task.expected_final, task.id);
  }
  assert.ok(tasks.length > 0);
  console.log(`   ${tasks.length} tasks`);
}

// A sample of /metrics by its name.
export async function metric(url, key, name) {
  const answer = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${key}` } });
  const line = (await answer.text()).split('\n').find((text) => text.startsWith(`${name} `));
  assert.ok(line, `no metric ${name}`);
  return Number(line.split(' ').pop());
}

// Asks for progress and takes the stream as it is: there must be some, in words that the chat page reads.
export async function checkProgress(url, key, path, body) {
  const answer = await fetch(url + path, {
    method: 'POST', headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: JSON.stringify({ ...body, stream: true, prefill_progress: true }),
  });
  const comments = (await answer.text()).split('\n').filter((line) => line.startsWith(':')).map((line) => line.slice(1).trim());
  const told = comments.filter((comment) => comment !== 'keep-alive');
  assert.ok(told.length > 0, 'progress is told');
  for (const comment of told) assert.ok(readProgress(comment), comment);
}
export const longPrompt = (unique) => user(`${unique} Sum these. ${'entry HNZ 90 '.repeat(60)}`);

// For what the server learns a little later, as that a client hung up.
export async function until(check, what) {
  for (let i = 0; i < 2000; ++i) {
    if (await check()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail(`never happened: ${what}`);
}

// Runs {name: check} one after the other and ends the process: 1 when one failed.
export async function runChecks(checks) {
  const entries = Object.entries(checks);
  let failures = 0;
  for (const [name, check] of entries) {
    try {
      await check();
      console.log(`ok ${name}`);
    } catch (error) {
      failures += 1;
      console.log(`FAILED ${name}\n${error.stack}`);
    }
  }
  console.log(`${entries.length - failures} of ${entries.length} checks passed on Node ${process.version}`);
  process.exit(failures || entries.length === 0 ? 1 : 0);
}

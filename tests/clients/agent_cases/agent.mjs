// SPDX-License-Identifier: Apache-2.0
// What the agents' cases share: a home that is thrown away, a run of the program, the check of what its tool did.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Skipped } from '../results.mjs';
import { here } from '../server.mjs';

export const bin = (name) => path.join(here, 'agents', 'node_modules', '.bin', name);

// The agent calls its shell tool until `calls` lines are written, then says so.
export function countingScript(calls, tool, args) {
  return {
    about: `${calls} calls of ${tool}, then the end`,
    rules: [
      { when: { user: 'COUNT-UP', system: tool, calls_below: calls },
        answer: { thinking: 'Call {n} is due.', content: '', tool_calls: [{ name: tool, arguments: args('echo {n} >> calls.log') }] } },
      { when: { user: 'COUNT-UP', system: tool, calls_from: calls },
        answer: { thinking: 'That was the last one.', content: 'FINISHED after {calls} calls.' } },
      { answer: { content: 'A conversation about counting' } },
    ],
  };
}

export class Workplace {
  constructor(name) {
    this.dir = mkdtempSync(path.join(os.tmpdir(), `baltoro-${name}-`));
    this.home = path.join(this.dir, 'home');
    this.work = path.join(this.dir, 'work');
    mkdirSync(this.home);
    mkdirSync(this.work);
  }
  write(name, content) {
    const file = path.join(this.dir, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content));
    return file;
  }
  lines() {
    try {
      return readFileSync(path.join(this.work, 'calls.log'), 'utf8').split('\n').filter(Boolean);
    } catch {
      return [];
    }
  }
  remove() { rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 }); }

  // Runs a program in the work folder with nothing of the caller's environment but PATH.
  run(program, args, env, seconds = 550) {
    return new Promise((resolve, reject) => {
      const child = spawn(program, args, {
        cwd: this.work, stdio: ['ignore', 'pipe', 'pipe'], timeout: seconds * 1000, killSignal: 'SIGKILL',
        env: { PATH: `${path.dirname(process.execPath)}:${process.env.PATH}`, HOME: this.home, LANG: 'C.UTF-8', TERM: 'dumb', ...env },
      });
      let out = '', log = '';
      child.stdout.setEncoding('utf8').on('data', (text) => { out += text; });
      child.stderr.setEncoding('utf8').on('data', (text) => { log += text; });
      child.once('error', reject);
      child.once('close', (code, signal) => resolve({ code, signal, out, log }));
    });
  }
}

// The case of one agent: `launch(place, server, prompt)` runs it once.
export function countingCases({ name, tool, args, launch, withScript, calls, note, needs, as = '' }) {
  const count = (many) => async () => {
    const place = new Workplace(name);
    try {
      const script = place.write('script.json', countingScript(many, tool, args));
      await withScript(script, async (server) => {
        if (needs && !server.serves(needs)) throw new Skipped(`${needs} is not served`);
        const started = performance.now();
        const ended = await launch(place, server, `COUNT-UP: please run the shell tool ${many} times.`);
        const seconds = (performance.now() - started) / 1000;
        const tail = `${ended.out.slice(-700)}\n${ended.log.slice(-700)}\n${server.log.join('').slice(-500)}`;
        assert.equal(ended.code, 0, `exit ${ended.code} ${ended.signal}: ${tail}`);
        assert.deepEqual(place.lines(), Array.from({ length: many }, (_, i) => String(i + 1)), tail);
        assert.ok(ended.out.includes(`FINISHED after ${many} calls.`), tail);
        const metrics = await server.metrics();
        const cached = metrics.baltoro_tokens_cached_total, computed = metrics.baltoro_tokens_prefilled_total;
        const share = cached / (cached + computed);
        note(`${as}${many} tool calls in ${seconds.toFixed(1)} s; prompt tokens: ${cached + computed}, from the cache ${(100 * share).toFixed(2)} %`);
        if (many >= 300) assert.ok(share >= 0.99, `${(100 * share).toFixed(2)} % of the prompt tokens came from the cache`);
      });
    } finally {
      place.remove();
    }
  };
  return { ...(as ? {} : { 'one call': count(1) }), [`${as}${calls} calls`]: count(calls) };
}

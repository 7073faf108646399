// SPDX-License-Identifier: Apache-2.0
// Starts `baltoro serve` on a free port of the loopback and stops it again.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const here = path.dirname(fileURLToPath(import.meta.url));
export const root = path.resolve(here, '../..');

export async function startServer(baltoro, args, { log = [] } = {}) {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('BALTORO_API')));
  const child = spawn(baltoro, ['serve', ...args, '--port', '0'], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  child.stderr.setEncoding('utf8').on('data', (text) => log.push(text));
  let out = '';
  const port = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`the server ended with ${code}: ${out}${log.join('')}`)));
    child.stdout.setEncoding('utf8').on('data', (text) => {
      out += text;
      const match = /http:\/\/127\.0\.0\.1:(\d+)\/v1/.exec(out);
      if (match) resolve(Number(match[1]));
    });
  });
  const url = `http://127.0.0.1:${port}`;
  return {
    url,
    port,
    log,
    pid: child.pid,
    // The plain samples of /metrics by name.
    async metrics() {
      const text = await (await fetch(`${url}/metrics`)).text();
      const samples = {};
      for (const line of text.split('\n')) {
        if (!line || line.startsWith('#')) continue;
        const space = line.lastIndexOf(' ');
        samples[line.slice(0, space)] = Number(line.slice(space + 1));
      }
      return samples;
    },
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
      const ended = once(child, 'exit');
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 120_000);
      const [code] = await ended;
      clearTimeout(timer);
      return code;
    },
  };
}

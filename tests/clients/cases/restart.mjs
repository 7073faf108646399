// SPDX-License-Identifier: Apache-2.0
// A long tools loop over a server that is killed with SIGKILL twice and started again on the same folder of KV: no call is
// lost or wrong, and what had reached the disk is not computed again.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import path from 'node:path';
import { Workplace } from '../agent_cases/agent.mjs';
import { startServer } from '../server.mjs';
import { until } from './expect.mjs';

const tool = { type: 'function', function: { name: 'add', parameters: {
  type: 'object', properties: { n: { type: 'string' } }, required: ['n'], additionalProperties: false } } };

const script = (calls) => ({ rules: [
  { when: { user: 'COUNT-UP', calls_below: calls },
    answer: { thinking: 'Call {n} is due.', tool_calls: [{ name: 'add', arguments: { n: '{n}' } }] } },
  { when: { user: 'COUNT-UP' }, answer: { thinking: 'The end.', content: 'FINISHED after {calls} calls.' } },
] });

export default async function restart({ baltoro, folder, calls, note }) {
  const place = new Workplace('restart');
  const kills = [Math.floor(calls / 3), Math.floor((2 * calls) / 3)];
  const start = () => startServer(baltoro, [folder, '--scripted', path.join(place.dir, 'script.json'), '--kv-dir', path.join(place.dir, 'kv'), '--quiet']);
  place.write('script.json', script(calls));
  let server = await start();
  try {
    const model = (await (await fetch(`${server.url}/v1/models`)).json()).data[0].id;
    // 2,000 tokens and more before the first turn, as an agent's system prompt has.
    const messages = [{ role: 'system', content: 'Always count. '.repeat(300) }, { role: 'user', content: 'COUNT-UP' }];
    const seen = [], again = [];
    for (let turn = 0; ; ++turn) {
      const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 });
      const answer = await client.chat.completions.create({ model, messages, tools: [tool] });
      const { message } = answer.choices[0];
      if (kills[again.length] === turn - 1) {
        const { prompt_tokens: prompt, prompt_tokens_details: { cached_tokens: cached } } = answer.usage;
        again.push({ prompt, cached });
      }
      messages.push(message);
      if (!message.tool_calls) {
        assert.equal(message.content, `FINISHED after ${calls} calls.`);
        break;
      }
      for (const call of message.tool_calls) {
        seen.push(JSON.parse(call.function.arguments).n);
        messages.push({ role: 'tool', tool_call_id: call.id, content: 'ok' });
      }
      if (kills.includes(turn)) {
        // The writer works behind the answers.
        await until(async () => (await server.metrics()).baltoro_kv_disk_unwritten_blocks === 0, 'all blocks are on disk');
        await server.kill();
        server = await start();
      }
    }
    assert.deepEqual(seen, Array.from({ length: calls }, (_, i) => String(i + 1)));
    assert.equal(again.length, kills.length);
    for (const { prompt, cached } of again) assert.ok(cached > 0.9 * prompt, JSON.stringify(again));
    note(`${calls} calls, killed after ${kills.join(' and ')}: the next turns had ${again.map(({ prompt, cached }) => `${cached} of ${prompt}`).join(' and ')} prompt tokens from disk`);
  } finally {
    await server.kill();
    place.remove();
  }
}

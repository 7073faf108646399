// SPDX-License-Identifier: Apache-2.0
// The `openai` client over Responses.
import assert from 'node:assert/strict';
import OpenAI, { BadRequestError, NotFoundError } from 'openai';
import { citySchema, expectedCalls, finalToolText, hardThought, hello, jsonAnswer, ToolLog, tools, untilIdle } from './expect.mjs';

const declared = tools.map((tool) => ({ type: 'function', strict: true, ...tool }));
const thoughtOf = (response) => response.output.filter(({ type }) => type === 'reasoning')
  .flatMap((item) => [...(item.summary ?? []), ...(item.content ?? [])]).map(({ text }) => text).join('');

export default function cases(server, { skip }) {
  if (!server.serves('/v1/responses')) {
    skip('/v1/responses is not served');
    return {};
  }
  const { model } = server;
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0, timeout: 60_000 });
  const respond = (body, options) => client.responses.create({ model, ...body }, options);

  // Either the client sends all items again, or the server remembers them.
  async function toolsLoop({ stream, remembered }) {
    const log = new ToolLog();
    let input = [{ role: 'user', content: 'USE-TOOLS' }], previous;
    for (let turn = 0; turn < 6; ++turn) {
      const body = { input, tools: declared, ...(remembered && previous ? { previous_response_id: previous } : {}) };
      const response = stream ? await client.responses.stream({ model, ...body }).finalResponse() : await respond(body);
      previous = response.id;
      const calls = response.output.filter(({ type }) => type === 'function_call');
      if (!calls.length) return { log, text: response.output_text, turns: turn + 1 };
      const outputs = calls.map((call) => ({ type: 'function_call_output', call_id: call.call_id,
                                             output: log.run(call.name, JSON.parse(call.arguments)) }));
      input = remembered ? outputs : [...input, ...response.output, ...outputs];
    }
    throw new Error('the loop never ended');
  }

  return {
    async chat() {
      const response = await respond({ input: 'HELLO', instructions: 'Be kind.' });
      assert.equal(response.output_text, hello);
      assert.equal(response.status, 'completed');
      assert.equal(response.usage.total_tokens, response.usage.input_tokens + response.usage.output_tokens);
    },
    async stream() {
      const types = [];
      let text = '', last = -1;
      for await (const event of await respond({ input: 'HELLO', stream: true })) {
        types.push(event.type);
        assert.equal(event.sequence_number, ++last);
        if (event.type === 'response.output_text.delta') text += event.delta;
        if (event.type === 'response.output_text.done') assert.equal(event.text, hello);
      }
      assert.equal(text, hello);
      assert.deepEqual(types.slice(0, 2), ['response.created', 'response.in_progress']);
      assert.equal(types.at(-1), 'response.completed');
    },
    async tools() {
      for (const stream of [false, true]) {
        for (const remembered of [false, true]) {
          const { log, text, turns } = await toolsLoop({ stream, remembered });
          assert.deepEqual(log.calls, expectedCalls, JSON.stringify({ stream, remembered }));
          assert.equal(text, finalToolText);
          assert.equal(turns, 3);
        }
      }
    },
    async 'forced tool'() {
      for (const tool_choice of ['required', { type: 'function', name: 'get_time' }]) {
        const response = await respond({ input: 'FORCED-CALL', tools: declared, tool_choice });
        const call = response.output.find(({ type }) => type === 'function_call');
        assert.deepEqual([call.name, JSON.parse(call.arguments)], ['get_time', { zone: 'UTC', format: '24h' }]);
      }
    },
    async 'json schema'() {
      const format = { type: 'json_schema', name: 'city', strict: true, schema: citySchema };
      const response = await client.responses.parse({ model, input: 'AS-JSON', text: { format } });
      assert.deepEqual(JSON.parse(response.output_text), jsonAnswer);
    },
    async thinking() {
      const response = await respond({ input: 'THINK-HARD', reasoning: { effort: 'high', summary: 'auto' } });
      assert.equal(response.output_text, 'It is 42.');
      assert.equal(thoughtOf(response), hardThought);
      assert.ok(response.usage.output_tokens_details.reasoning_tokens > 5);
    },
    async 'previous response'() {
      const first = await respond({ input: 'REMEMBER that it was blue' });
      const second = await respond({ input: 'WHAT-WAS-IT', previous_response_id: first.id });
      assert.equal(second.output_text, 'It was blue.');
      assert.equal((await client.responses.retrieve(first.id)).output_text ?? '', first.output_text);
      await assert.rejects(respond({ input: 'x', previous_response_id: 'resp_none' }), (error) => error.status === 404 || error.status === 400);
    },
    async errors() {
      await assert.rejects(respond({ input: 'HELLO', temperature: 9 }), (error) => error instanceof BadRequestError && error.param === 'temperature');
      await assert.rejects(client.responses.create({ model: 'gpt-none', input: 'HELLO' }), NotFoundError);
    },
    async abort() {
      const controller = new AbortController();
      let text = '';
      for await (const event of await respond({ input: 'FOR-EVER', stream: true }, { signal: controller.signal })) {
        if (event.type === 'response.output_text.delta') text += event.delta;
        if (text.length > 60) controller.abort();
      }
      assert.ok(text.startsWith('again and again, again and again, '));
      await untilIdle(server);
    },
  };
}

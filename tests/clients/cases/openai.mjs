// SPDX-License-Identifier: Apache-2.0
// The `openai` client: chat completions, completions, models.
import assert from 'node:assert/strict';
import OpenAI, { APIError, BadRequestError, NotFoundError } from 'openai';
import { citySchema, expectedCalls, finalToolText, hardThought, hello, helloThought, jsonAnswer, ToolLog, tools,
         untilIdle } from './expect.mjs';

const user = (content) => [{ role: 'user', content }];
const functions = tools.map((tool) => ({ type: 'function', function: tool }));

async function gather(stream) {
  const out = { content: '', reasoning: '', calls: [], finish: null, usage: null };
  for await (const chunk of stream) {
    assert.equal(chunk.object, 'chat.completion.chunk');
    if (chunk.usage) out.usage = chunk.usage;
    for (const { delta, finish_reason: finish } of chunk.choices) {
      out.content += delta.content ?? '';
      out.reasoning += delta.reasoning_content ?? '';
      for (const part of delta.tool_calls ?? []) {
        const call = (out.calls[part.index] ??= { id: '', type: 'function', function: { name: '', arguments: '' } });
        call.id += part.id ?? '';
        call.function.name += part.function?.name ?? '';
        call.function.arguments += part.function?.arguments ?? '';
      }
      out.finish = finish ?? out.finish;
    }
  }
  return out;
}

export default function cases(server) {
  const { model } = server;
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0, timeout: 60_000 });
  const chat = (request, options) => client.chat.completions.create({ model, ...request }, options);

  // Both ways to run a tools loop: whole answers and streams.
  async function toolsLoop(stream) {
    const log = new ToolLog();
    const messages = user('USE-TOOLS for Paris and Zürich');
    for (let turn = 0; turn < 6; ++turn) {
      let message, finish;
      if (stream) {
        const got = await gather(await chat({ messages, tools: functions, stream: true }));
        message = { role: 'assistant', content: got.content || null, reasoning_content: got.reasoning,
                    ...(got.calls.length ? { tool_calls: got.calls } : {}) };
        finish = got.finish;
      } else {
        const answer = await chat({ messages, tools: functions });
        ({ message, finish_reason: finish } = answer.choices[0]);
      }
      messages.push(message);
      if (finish === 'stop') return { log, text: message.content, turns: turn + 1 };
      assert.equal(finish, 'tool_calls');
      for (const call of message.tool_calls) {
        assert.ok(call.id.length > 0);
        const content = log.run(call.function.name, JSON.parse(call.function.arguments));
        messages.push({ role: 'tool', tool_call_id: call.id, content });
      }
    }
    throw new Error('the loop never ended');
  }

  return {
    async chat() {
      const answer = await chat({ messages: user('HELLO') });
      assert.equal(answer.choices[0].message.content, hello);
      assert.equal(answer.choices[0].message.reasoning_content, helloThought);
      assert.equal(answer.choices[0].finish_reason, 'stop');
      assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
      const parts = await chat({ messages: [{ role: 'developer', content: [{ type: 'text', text: 'Be brief.' }] },
                                            { role: 'user', content: [{ type: 'text', text: 'HEL' }, { type: 'text', text: 'LO' }] }] });
      assert.equal(parts.choices[0].message.content.length > 0, true);
    },
    async stream() {
      const got = await gather(await chat({ messages: user('HELLO'), stream: true, stream_options: { include_usage: true } }));
      assert.equal(got.content, hello);
      assert.equal(got.reasoning, helloThought);
      assert.equal(got.finish, 'stop');
      assert.ok(got.usage.completion_tokens > 10);
    },
    async 'stream helper'() {
      const stream = client.chat.completions.stream({ model, messages: user('HELLO') });
      assert.equal(await stream.finalContent(), hello);
    },
    async tools() {
      for (const stream of [false, true]) {
        const { log, text, turns } = await toolsLoop(stream);
        assert.deepEqual(log.calls, expectedCalls);
        assert.equal(text, finalToolText);
        assert.equal(turns, 3);
      }
    },
    async 'tools runner'() {
      const log = new ToolLog();
      const runner = client.chat.completions.runTools({
        model, messages: user('USE-TOOLS'),
        tools: tools.map((tool) => ({ type: 'function', function: {
          ...tool, parse: JSON.parse, function: (args) => log.run(tool.name, args) } })),
      });
      assert.equal(await runner.finalContent(), finalToolText);
      assert.deepEqual(log.calls, expectedCalls);
    },
    async 'forced tool'() {
      for (const tool_choice of ['required', { type: 'function', function: { name: 'get_time' } }]) {
        const answer = await chat({ messages: user('FORCED-CALL'), tools: functions, tool_choice });
        const [call] = answer.choices[0].message.tool_calls;
        assert.equal(call.function.name, 'get_time');
        assert.deepEqual(JSON.parse(call.function.arguments), { zone: 'UTC', format: '24h' });
      }
      const none = await chat({ messages: user('HELLO'), tools: functions, tool_choice: 'none' });
      assert.equal(none.choices[0].message.content, hello);
    },
    async 'json schema'() {
      const response_format = { type: 'json_schema', json_schema: { name: 'city', strict: true, schema: citySchema } };
      const answer = await chat({ messages: user('AS-JSON'), response_format });
      assert.deepEqual(JSON.parse(answer.choices[0].message.content), jsonAnswer);
      const parsed = await client.chat.completions.parse({ model, messages: user('AS-JSON'), response_format });
      assert.deepEqual(JSON.parse(parsed.choices[0].message.content), jsonAnswer);
      // A model that would rather talk still answers with an object.
      const forced = await chat({ messages: user('HELLO'), response_format: { type: 'json_object' }, max_tokens: 200 });
      assert.equal(typeof JSON.parse(forced.choices[0].message.content), 'object');
    },
    async thinking() {
      const answer = await chat({ messages: user('THINK-HARD') });
      assert.equal(answer.choices[0].message.reasoning_content, hardThought);
      assert.equal(answer.choices[0].message.content, 'It is 42.');
      assert.ok(answer.usage.completion_tokens_details.reasoning_tokens > 5);
    },
    async completions() {
      const answer = await client.completions.create({ model, prompt: 'Question: FORTY-TWO? Answer:', max_tokens: 20, temperature: 0 });
      assert.equal(answer.choices[0].text, ' of course');
    },
    async models() {
      const list = await client.models.list();
      assert.deepEqual(list.data.map((entry) => entry.id), [model]);
      assert.equal((await client.models.retrieve(model)).object, 'model');
    },
    async errors() {
      await assert.rejects(chat({ messages: [] }), (error) => error instanceof BadRequestError && error.status === 400 &&
        error.param === 'messages' && error.type === 'invalid_request_error' && error.message.length > 10);
      await assert.rejects(chat({ model: 'gpt-none', messages: user('HELLO') }), NotFoundError);
      await assert.rejects(chat({ messages: user('HELLO'), temperature: 9, stream: true }), BadRequestError);
      assert.ok(BadRequestError.prototype instanceof APIError);
    },
    async abort() {
      const controller = new AbortController();
      const stream = await chat({ messages: user('FOR-EVER'), stream: true }, { signal: controller.signal });
      let text = '';
      for await (const chunk of stream) {
        text += chunk.choices[0]?.delta.content ?? '';
        if (text.length > 60) controller.abort();
      }
      assert.ok(text.startsWith('again and again, again and again, '));
      await untilIdle(server);
    },
    async 'prefix cache'() {
      const messages = [...user('REMEMBER the color of the sky. '.repeat(40))];
      const first = await chat({ messages });
      messages.push(first.choices[0].message, ...user('WHAT-WAS-IT?'));
      const second = await chat({ messages });
      assert.equal(second.choices[0].message.content, 'It was blue.');
      assert.ok(second.usage.prompt_tokens_details.cached_tokens > 0.7 * first.usage.prompt_tokens,
                JSON.stringify(second.usage));
    },
  };
}

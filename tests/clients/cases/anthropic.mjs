// SPDX-License-Identifier: Apache-2.0
// The `@anthropic-ai/sdk` client over Messages.
import assert from 'node:assert/strict';
import Anthropic, { BadRequestError, NotFoundError } from '@anthropic-ai/sdk';
import { expectedCalls, finalToolText, hardThought, hello, helloThought, ToolLog, tools, untilIdle } from './expect.mjs';

const user = (content) => [{ role: 'user', content }];
const declared = tools.map(({ name, description, parameters }) => ({ name, description, input_schema: parameters }));
const textOf = (message) => message.content.filter((block) => block.type === 'text').map((block) => block.text).join('');
const thoughtOf = (message) => message.content.filter((block) => block.type === 'thinking').map((block) => block.thinking).join('');
const thinking = { type: 'enabled', budget_tokens: 2048 };

export default function cases(server, { skip }) {
  if (!server.serves('/v1/messages')) {
    skip('/v1/messages is not served');
    return {};
  }
  const { model } = server;
  const client = new Anthropic({ baseURL: server.url, apiKey: 'none', maxRetries: 0, timeout: 60_000 });
  const base = { model, max_tokens: 4096 };

  async function toolsLoop(stream) {
    const log = new ToolLog();
    const messages = user('USE-TOOLS');
    for (let turn = 0; turn < 6; ++turn) {
      const body = { ...base, messages, tools: declared, thinking };
      const message = stream ? await client.messages.stream(body).finalMessage() : await client.messages.create(body);
      messages.push({ role: 'assistant', content: message.content });
      const calls = message.content.filter((block) => block.type === 'tool_use');
      if (message.stop_reason === 'end_turn') return { log, text: textOf(message), turns: turn + 1 };
      assert.equal(message.stop_reason, 'tool_use');
      messages.push({ role: 'user', content: calls.map((call) => ({
        type: 'tool_result', tool_use_id: call.id, content: [{ type: 'text', text: log.run(call.name, call.input) }] })) });
    }
    throw new Error('the loop never ended');
  }

  return {
    async chat() {
      const message = await client.messages.create({ ...base, system: 'Be kind.', messages: user([{ type: 'text', text: 'HELLO' }]) });
      assert.equal(textOf(message), hello);
      assert.equal(message.stop_reason, 'end_turn');
      assert.equal(message.role, 'assistant');
      assert.ok(message.usage.output_tokens > 5 && message.usage.input_tokens + (message.usage.cache_read_input_tokens ?? 0) > 5);
    },
    async stream() {
      const types = [];
      const stream = client.messages.stream({ ...base, messages: user('HELLO'), thinking });
      stream.on('streamEvent', (event) => types.push(event.type));
      const message = await stream.finalMessage();
      assert.equal(textOf(message), hello);
      assert.equal(thoughtOf(message), helloThought);
      assert.equal(types[0], 'message_start');
      assert.deepEqual(types.slice(-2), ['message_delta', 'message_stop']);
    },
    async tools() {
      for (const stream of [false, true]) {
        const { log, text, turns } = await toolsLoop(stream);
        assert.deepEqual(log.calls, expectedCalls);
        assert.equal(text, finalToolText);
        assert.equal(turns, 3);
      }
    },
    async 'forced tool'() {
      for (const tool_choice of [{ type: 'any' }, { type: 'tool', name: 'get_time' }]) {
        const message = await client.messages.create({ ...base, messages: user('FORCED-CALL'), tools: declared, tool_choice });
        const call = message.content.find((block) => block.type === 'tool_use');
        assert.deepEqual([call.name, call.input], ['get_time', { zone: 'UTC', format: '24h' }]);
      }
    },
    async thinking() {
      const message = await client.messages.create({ ...base, messages: user('THINK-HARD'), thinking });
      assert.equal(thoughtOf(message), hardThought);
      assert.equal(textOf(message), 'It is 42.');
      const block = message.content.find(({ type }) => type === 'thinking');
      assert.ok(block.signature.length > 0);
      // The block comes back with the next turn.
      const again = await client.messages.create({ ...base, thinking, messages: [
        ...user('REMEMBER'), { role: 'assistant', content: message.content }, ...user('WHAT-WAS-IT') ] });
      assert.equal(textOf(again), 'It was blue.');
    },
    async 'count tokens'() {
      const counted = await client.messages.countTokens({ model, messages: user('HELLO') });
      const message = await client.messages.create({ ...base, messages: user('HELLO') });
      const { input_tokens, cache_read_input_tokens = 0, cache_creation_input_tokens = 0 } = message.usage;
      assert.equal(counted.input_tokens, input_tokens + (cache_read_input_tokens ?? 0) + (cache_creation_input_tokens ?? 0));
    },
    async errors() {
      await assert.rejects(client.messages.create({ ...base, messages: [] }), (error) => error instanceof BadRequestError &&
        error.error.type === 'error' && error.error.error.type === 'invalid_request_error' && error.error.error.message.length > 10);
      await assert.rejects(client.messages.create({ ...base, model: 'claude-none-1', messages: user('HELLO') }), NotFoundError);
    },
    async 'stop and length'() {
      const cut = await client.messages.create({ ...base, max_tokens: 40, messages: user('FOR-EVER') });
      assert.equal(cut.stop_reason, 'max_tokens');
      const stopped = await client.messages.create({ ...base, messages: user('FOR-EVER'), stop_sequences: ['and again'] });
      assert.equal(stopped.stop_reason, 'stop_sequence');
      assert.equal(stopped.stop_sequence, 'and again');
      assert.equal(textOf(stopped), 'again ');
    },
    async abort() {
      const stream = client.messages.stream({ ...base, messages: user('FOR-EVER') });
      let text = '';
      stream.on('text', (part) => {
        text += part;
        if (text.length > 60) stream.abort();
      });
      await assert.rejects(stream.finalMessage());
      assert.ok(text.startsWith('again and again, again and again, '));
      await untilIdle(server);
    },
    async 'prefix cache'() {
      const messages = user('REMEMBER the color of the sky. '.repeat(40));
      const first = await client.messages.create({ ...base, messages });
      messages.push({ role: 'assistant', content: first.content }, ...user('WHAT-WAS-IT?'));
      const second = await client.messages.create({ ...base, messages });
      assert.equal(textOf(second), 'It was blue.');
      assert.ok(second.usage.cache_read_input_tokens > 300, JSON.stringify(second.usage));
    },
  };
}

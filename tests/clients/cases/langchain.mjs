// SPDX-License-Identifier: Apache-2.0
// LangChain's models over chat completions, Responses and Messages.
import assert from 'node:assert/strict';
import { ChatAnthropic } from '@langchain/anthropic';
import { AIMessageChunk, HumanMessage, ToolMessage } from '@langchain/core/messages';
import { ChatOpenAI } from '@langchain/openai';
import { citySchema, expectedCalls, finalToolText, hello, jsonAnswer, ToolLog, tools, untilIdle } from './expect.mjs';

// A message's text, whether its content is a string or blocks.
const textOf = ({ content }) => (typeof content === 'string' ? content
  : content.filter((block) => block.type === 'text').map((block) => block.text).join(''));

function modelCases(server, name, make, structured = { method: 'jsonSchema', strict: true }) {
  const functions = tools.map((tool) => ({ type: 'function', function: tool }));
  async function loop(stream) {
    const log = new ToolLog();
    const model = make().bindTools(functions);
    const messages = [new HumanMessage('USE-TOOLS')];
    for (let turn = 0; turn < 6; ++turn) {
      let answer;
      if (stream) {
        for await (const chunk of await model.stream(messages)) answer = answer ? answer.concat(chunk) : chunk;
        assert.ok(AIMessageChunk.isInstance(answer));
      } else {
        answer = await model.invoke(messages);
      }
      messages.push(answer);
      if (!answer.tool_calls?.length) return { log, text: textOf(answer), turns: turn + 1 };
      for (const call of answer.tool_calls)
        messages.push(new ToolMessage({ tool_call_id: call.id, content: log.run(call.name, call.args) }));
    }
    throw new Error('the loop never ended');
  }
  const cases = {
    async chat() {
      const answer = await make().invoke('HELLO');
      assert.equal(textOf(answer), hello);
      assert.ok(answer.usage_metadata.input_tokens > 5 && answer.usage_metadata.output_tokens > 5);
    },
    async stream() {
      let text = '';
      for await (const chunk of await make().stream('HELLO')) text += textOf(chunk);
      assert.equal(text, hello);
    },
    async tools() {
      for (const stream of [false, true]) {
        const { log, text, turns } = await loop(stream);
        assert.deepEqual(log.calls, expectedCalls);
        assert.equal(text, finalToolText);
        assert.equal(turns, 3);
      }
    },
    async 'json schema'() {
      const answer = await make().withStructuredOutput({ title: 'city', ...citySchema }, structured)
        .invoke('AS-JSON');
      assert.deepEqual(answer, jsonAnswer);
    },
    async errors() {
      await assert.rejects(make({ model: 'gpt-none' }).invoke('HELLO'), (error) => (error.status ?? error.response?.status) === 404);
    },
    async abort() {
      const controller = new AbortController();
      let text = '';
      await assert.rejects(async () => {
        for await (const chunk of await make().stream('FOR-EVER', { signal: controller.signal })) {
          text += textOf(chunk);
          if (text.length > 60) controller.abort();
        }
      });
      assert.ok(text.startsWith('again and again, again and again, '), text);
      await untilIdle(server);
    },
  };
  return Object.fromEntries(Object.entries(cases).map(([key, run]) => [`${name}: ${key}`, run]));
}

export default function cases(server) {
  const { url, model } = server;
  const openai = (more) => (options) => new ChatOpenAI({
    model, apiKey: 'none', maxRetries: 0, configuration: { baseURL: `${url}/v1` }, ...more, ...options });
  const anthropic = (options) => new ChatAnthropic({ model, apiKey: 'none', maxRetries: 0, anthropicApiUrl: url, maxTokens: 4096, ...options });
  return {
    ...modelCases(server, 'openai', openai({ useResponsesApi: false })),
    ...(server.serves('/v1/responses') ? modelCases(server, 'openai responses', openai({ useResponsesApi: true })) : {}),
    ...(server.serves('/v1/messages') ? modelCases(server, 'anthropic', anthropic, { method: 'functionCalling', name: 'city' }) : {}),
  };
}

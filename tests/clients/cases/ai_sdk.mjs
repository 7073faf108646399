// SPDX-License-Identifier: Apache-2.0
// The AI SDK with four providers: openai-compatible and moonshotai over chat completions, openai over Responses,
// anthropic over Messages.
import assert from 'node:assert/strict';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createMoonshotAI } from '@ai-sdk/moonshotai';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { APICallError, generateText, jsonSchema, Output, stepCountIs, streamText, tool } from 'ai';
import { citySchema, expectedCalls, finalToolText, hardThought, hello, helloThought, jsonAnswer, ToolLog, tools,
         untilIdle } from './expect.mjs';

const quiet = { maxRetries: 0, onError: () => {} };

function providerCases(server, name, provider, { reasons = true } = {}) {
  const model = provider(server.model);
  const toolsOf = (log) => Object.fromEntries(tools.map(({ name: key, description, parameters }) => [
    key, tool({ description, inputSchema: jsonSchema(parameters), execute: (args) => log.run(key, args) })]));
  const checkLoop = (log, text, steps) => {
    assert.deepEqual(log.calls, expectedCalls);
    assert.equal(text, finalToolText);
    assert.equal(steps.length, 3);
    assert.equal(steps[0].toolCalls.length, 2);
  };
  const cases = {
    async chat() {
      const answer = await generateText({ model, prompt: 'HELLO', ...quiet });
      assert.equal(answer.text, hello);
      if (reasons) assert.equal(answer.reasoningText, helloThought);
      assert.equal(answer.finishReason, 'stop');
      assert.ok(answer.usage.inputTokens > 5 && answer.usage.outputTokens > 5);
    },
    async stream() {
      const result = streamText({ model, prompt: 'HELLO', ...quiet });
      let text = '', reasoning = '';
      for await (const part of result.fullStream) {
        if (part.type === 'error') throw part.error;
        if (part.type === 'text-delta') text += part.text;
        if (part.type === 'reasoning-delta') reasoning += part.text;
      }
      assert.equal(text, hello);
      if (reasons) assert.equal(reasoning, helloThought);
      assert.equal(await result.finishReason, 'stop');
      assert.ok((await result.usage).outputTokens > 5);
    },
    async tools() {
      const log = new ToolLog();
      const answer = await generateText({ model, prompt: 'USE-TOOLS', tools: toolsOf(log), stopWhen: stepCountIs(6), ...quiet });
      checkLoop(log, answer.text, answer.steps);
    },
    async 'tools, streamed'() {
      const log = new ToolLog();
      const result = streamText({ model, prompt: 'USE-TOOLS', tools: toolsOf(log), stopWhen: stepCountIs(6), ...quiet });
      for await (const part of result.fullStream) if (part.type === 'error') throw part.error;
      checkLoop(log, await result.text, await result.steps);
    },
    async 'json schema'() {
      const output = Output.object({ schema: jsonSchema(citySchema), name: 'city' });
      const answer = await generateText({ model, prompt: 'AS-JSON', output, ...quiet });
      assert.deepEqual(answer.output, jsonAnswer);
    },
    async thinking() {
      const answer = await generateText({ model, prompt: 'THINK-HARD', ...quiet });
      assert.equal(answer.text, 'It is 42.');
      if (reasons) assert.equal(answer.reasoningText, hardThought);
    },
    async errors() {
      await assert.rejects(generateText({ model: provider('gpt-none'), prompt: 'HELLO', ...quiet }),
                           (error) => APICallError.isInstance(error) && error.statusCode === 404 && error.message.includes('gpt-none'));
    },
    async abort() {
      const controller = new AbortController();
      const result = streamText({ model, prompt: 'FOR-EVER', abortSignal: controller.signal, ...quiet });
      let text = '';
      for await (const part of result.fullStream) {
        if (part.type === 'error') throw part.error;
        if (part.type === 'text-delta') text += part.text;
        if (text.length > 60) controller.abort();
      }
      assert.ok(text.startsWith('again and again, again and again, '), text);
      await untilIdle(server);
    },
  };
  return Object.fromEntries(Object.entries(cases).map(([key, run]) => [`${name}: ${key}`, run]));
}

export default function cases(server) {
  const { url } = server;
  const apiKey = 'none';
  const compatible = createOpenAICompatible({ name: 'baltoro', baseURL: `${url}/v1`, apiKey, supportsStructuredOutputs: true,
                                              includeUsage: true });
  return {
    ...providerCases(server, 'compatible', compatible),
    ...providerCases(server, 'moonshotai', createMoonshotAI({ baseURL: `${url}/v1`, apiKey })),
    ...providerCases(server, 'openai chat', createOpenAI({ baseURL: `${url}/v1`, apiKey }).chat, { reasons: false }),
    ...(server.serves('/v1/responses')
      ? providerCases(server, 'openai responses', createOpenAI({ baseURL: `${url}/v1`, apiKey }).responses, { reasons: false }) : {}),
    ...(server.serves('/v1/messages')
      ? providerCases(server, 'anthropic', createAnthropic({ baseURL: `${url}/v1`, apiKey })) : {}),
  };
}

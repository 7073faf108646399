// SPDX-License-Identifier: Apache-2.0
// @openai/agents over chat completions and, where served, Responses.
import assert from 'node:assert/strict';
import { Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, setTracingDisabled, tool } from '@openai/agents';
import OpenAI from 'openai';
import { citySchema, expectedCalls, finalToolText, hello, jsonAnswer, ToolLog, tools, until, untilIdle } from './expect.mjs';

setTracingDisabled(true);

function modelCases(server, name, model) {
  const runner = new Runner({ tracingDisabled: true });
  const agentWith = (log) => new Agent({
    name: 'Tester', instructions: 'You test a server.', model,
    tools: tools.map(({ name: key, description, parameters }) => tool({
      name: key, description, parameters, strict: true, execute: (args) => log.run(key, args) })),
  });
  const cases = {
    async chat() {
      const result = await runner.run(agentWith(new ToolLog()), 'HELLO');
      assert.equal(result.finalOutput, hello);
    },
    async stream() {
      const result = await runner.run(agentWith(new ToolLog()), 'HELLO', { stream: true });
      let text = '';
      for await (const part of result.toTextStream()) text += part;
      await result.completed;
      assert.equal(text, hello);
    },
    async tools() {
      const log = new ToolLog();
      const result = await runner.run(agentWith(log), 'USE-TOOLS');
      assert.equal(result.finalOutput, finalToolText);
      assert.deepEqual(log.calls, expectedCalls);
    },
    async 'tools, streamed'() {
      const log = new ToolLog();
      const result = await runner.run(agentWith(log), 'USE-TOOLS', { stream: true });
      for await (const event of result) assert.ok(event.type);
      await result.completed;
      assert.equal(result.finalOutput, finalToolText);
      assert.deepEqual(log.calls, expectedCalls);
    },
    async 'json schema'() {
      const agent = new Agent({ name: 'Tester', model,
                                outputType: { type: 'json_schema', name: 'city', strict: true, schema: citySchema } });
      const result = await runner.run(agent, 'AS-JSON');
      assert.deepEqual(result.finalOutput, jsonAnswer);
    },
    async abort() {
      const controller = new AbortController();
      const running = assert.rejects(runner.run(agentWith(new ToolLog()), 'FOR-EVER', { signal: controller.signal }));
      await until(async () => (await server.metrics()).baltoro_sequences_running > 0, 'the request runs');
      controller.abort();
      await running;
      await untilIdle(server);
    },
  };
  return Object.fromEntries(Object.entries(cases).map(([key, run]) => [`${name}: ${key}`, run]));
}

export default function cases(server) {
  const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 });
  return {
    ...modelCases(server, 'chat', new OpenAIChatCompletionsModel(client, server.model)),
    ...(server.serves('/v1/responses') ? modelCases(server, 'responses', new OpenAIResponsesModel(client, server.model)) : {}),
  };
}

// SPDX-License-Identifier: Apache-2.0
// Real weights: the bundled ledger model solves its tasks through the tool loops of three clients.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import Anthropic from '@anthropic-ai/sdk';
import { generateText, jsonSchema, stepCountIs, tool } from 'ai';
import OpenAI from 'openai';
import { root, startServer } from '../server.mjs';

const description = 'Read one ledger entry';
const parameters = { type: 'object', properties: { key: { type: 'string' } }, required: ['key'] };
const quiet = { maxRetries: 0, temperature: 0 };

// Each returns what the model said last and the arguments of its calls.
const clients = {
  async openai(url, model, task, read) {
    const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0 });
    if (!task.tools) return (await client.chat.completions.create({ model, messages: task.messages, temperature: 0 })).choices[0].message.content;
    const runner = client.chat.completions.runTools({
      model, messages: task.messages, temperature: 0, stream: true,
      tools: [{ type: 'function', function: { name: 'get', description, parameters, parse: JSON.parse, function: read } }],
    }, { maxChatCompletions: 12 });
    return runner.finalContent();
  },
  async 'ai-sdk'(url, model, task, read) {
    const provider = createOpenAICompatible({ name: 'baltoro', baseURL: `${url}/v1`, apiKey: 'none' });
    const tools = { get: tool({ description, inputSchema: jsonSchema(parameters), execute: read }) };
    const answer = await generateText({ model: provider(model), messages: task.messages, ...(task.tools ? { tools } : {}),
                                        stopWhen: stepCountIs(12), ...quiet });
    return answer.text;
  },
  async anthropic(url, model, task, read) {
    const client = new Anthropic({ baseURL: url, apiKey: 'none', maxRetries: 0 });
    const messages = [...task.messages];
    for (let turn = 0; turn < 12; ++turn) {
      const stream = client.messages.stream({ model, messages, max_tokens: 500, temperature: 0,
                                              ...(task.tools ? { tools: [{ name: 'get', description, input_schema: parameters }] } : {}) });
      const message = await stream.finalMessage();
      messages.push({ role: 'assistant', content: message.content });
      const calls = message.content.filter((block) => block.type === 'tool_use');
      if (!calls.length) return message.content.filter((block) => block.type === 'text').map((block) => block.text).join('');
      messages.push({ role: 'user', content: calls.map((call) => ({ type: 'tool_result', tool_use_id: call.id, content: read(call.input) })) });
    }
    return null;
  },
};

export default async function bundled(baltoro, results) {
  const folder = path.join(root, 'models', 'ledger');
  // Tasks that begin with a user: not every client takes another's history.
  const tasks = readFileSync(path.join(folder, 'tasks.jsonl'), 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line))
    .filter((task) => task.messages.every(({ role }) => role === 'user' || role === 'system'));
  const server = await startServer(baltoro, [folder, '--quiet', '--max-sequences', '16']);
  const served = (await fetch(`${server.url}/v1/messages`, { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } })).status !== 404;
  for (const [name, run] of Object.entries(clients)) {
    if (name === 'anthropic' && !served) {
      results.skip('bundled-model', name, '/v1/messages is not served');
      continue;
    }
    await results.time('bundled-model', `${name}: ${tasks.length} ledger tasks`, async () => {
      await Promise.all(tasks.map(async (task) => {
        const calls = [];
        const read = (args) => {
          calls.push(args);
          return JSON.stringify(task.ledger?.[args.key] ?? { error: 'not found' });
        };
        const final = await run(server.url, 'ledger', task, read);
        assert.equal(final, task.expected_final, task.id);
        assert.deepEqual(calls, task.expected_calls.map((call) => JSON.parse(call.arguments)), task.id);
      }));
    });
  }
  assert.equal(await server.stop(), 0);
}

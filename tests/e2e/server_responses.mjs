// SPDX-License-Identifier: Apache-2.0
// What the openai client sees of the Responses API. usage: node server_responses.mjs URL KEY OTHER_KEY MODEL_DIR
// exit 1 when a check fails. Plain JavaScript for Node 18 and later, nothing but the client.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { checkProgress, checkTasks, ledgerEntry, ledgerTasks, ledgerTool, longPrompt, runChecks } from './checks.mjs';

const [url, apiKey, otherKey, folder] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, timeout: 60_000 });
const stranger = new OpenAI({ baseURL: `${url}/v1`, apiKey: otherKey, maxRetries: 0, timeout: 60_000 });
const model = 'ledger';
const tools = [{ type: 'function', strict: false, ...ledgerTool }];
const tasks = ledgerTasks(folder);

const create = (request) => client.responses.create({ model, temperature: 0, ...request });
const text = (response) => response.output.filter(({ type }) => type === 'message').map(({ content }) => content[0].text).join('');
const thoughts = (response) => response.output.filter(({ type }) => type === 'reasoning');

// How a client carries a ledger task: the whole history each time, or the last response's id.
const ways = {
  async whole(input, request) {
    const response = await create({ ...request, input, store: false });
    input.push(...response.output);
    return response;
  },
  async sealed(input, request) {
    const response = await create({ ...request, input, store: false, include: ['reasoning.encrypted_content'] });
    // Codex keeps the sealed text, not the plain one.
    input.push(...response.output.map(({ content, ...item }) => (item.type === 'reasoning' ? item : { ...item, ...(content && { content }) })));
    return response;
  },
  async remembered(input, request, previous) {
    const response = await create({ ...request, input: [...input], previous_response_id: previous?.id });
    input.length = 0;
    return response;
  },
  async streamed(input, request) {
    const stream = client.responses.stream({ model, temperature: 0, ...request, input, store: false });
    const response = await stream.finalResponse();
    input.push(...response.output.map(({ parsed_arguments: _, ...item }) => item));
    return response;
  },
};

const messagesToInput = (messages) => messages.flatMap(({ role, content, reasoning_content: thought, tool_calls: calls = [], tool_call_id: id }) => {
  if (role === 'tool') return [{ type: 'function_call_output', call_id: id, output: content }];
  return [
    ...(thought ? [{ type: 'reasoning', id: 'rs', summary: [], content: [{ type: 'reasoning_text', text: thought }] }] : []),
    ...(content ? [{ role, content }] : []),
    ...calls.map((call) => ({ type: 'function_call', call_id: call.id, ...call.function })),
  ];
});

const runTask = async (task, way) => {
  const input = messagesToInput(task.messages);
  const request = { tools: task.tools ? tools : undefined };
  const calls = [];
  let response;
  for (let turn = 0; turn < 12; ++turn) {
    response = await ways[way](input, request, response);
    const asked = response.output.filter(({ type }) => type === 'function_call');
    if (asked.length === 0) return { calls, final: text(response) };
    for (const call of asked) {
      calls.push({ id: call.call_id, name: call.name, arguments: call.arguments });
      input.push({ type: 'function_call_output', call_id: call.call_id, output: ledgerEntry(task, JSON.parse(call.arguments)) });
    }
  }
  return { calls, final: null };
};

const checks = {
  'a whole answer': async () => {
    const response = await create({ input: 'Who are you?' });
    assert.equal(response.object, 'response');
    assert.match(response.id, /^resp_/);
    assert.equal(response.status, 'completed');
    assert.match(response.output_text, /^I am Ledger/);
    assert.deepEqual(response.output.map(({ type }) => type), ['reasoning', 'message']);
    assert.ok(response.output[0].content[0].text.length > 0);
    assert.equal(response.usage.total_tokens, response.usage.input_tokens + response.usage.output_tokens);
    assert.ok(response.usage.output_tokens_details.reasoning_tokens > 0);
  },
  'the same prompt as in chat, and the same answer': async () => {
    const chat = await client.chat.completions.create({
      model, temperature: 0, messages: [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Hello.' }],
    });
    const response = await create({ instructions: 'Be brief.', input: [{ role: 'user', content: 'Hello.' }] });
    assert.equal(response.output_text, chat.choices[0].message.content);
    assert.equal(response.usage.input_tokens, chat.usage.prompt_tokens);
    const count = await client.responses.inputTokens.count({ model, instructions: 'Be brief.', input: 'Hello.' });
    assert.equal(count.input_tokens, chat.usage.prompt_tokens);
    assert.equal(count.object, 'response.input_tokens');
  },
  'a stream says the same as the whole, in order': async () => {
    const whole = await create({ input: 'What is the value of AIR?', tools, store: false });
    const types = [];
    let sequence = 0;
    let last;
    for await (const event of await create({ input: 'What is the value of AIR?', tools, store: false, stream: true })) {
      assert.equal(event.sequence_number, sequence);
      sequence += 1;
      if (types.at(-1) !== event.type) types.push(event.type);
      last = event;
    }
    const strip = (output) => output.map(({ id, ...item }) => item);
    assert.deepEqual(strip(last.response.output), strip(whole.output));
    assert.deepEqual(types.slice(0, 2), ['response.created', 'response.in_progress']);
    assert.equal(types.at(-1), 'response.completed');
    for (const type of ['output_item.added', 'reasoning_text.delta', 'function_call_arguments.delta',
      'function_call_arguments.done', 'output_item.done']) {
      assert.ok(types.includes(`response.${type}`), type);
    }
  },
  'the stream helper puts an answer together': async () => {
    const seen = [];
    const stream = client.responses.stream({ model, temperature: 0, input: 'Who are you?' });
    stream.on('response.output_text.delta', ({ delta }) => seen.push(delta));
    const final = await stream.finalResponse();
    assert.equal(seen.join(''), final.output_text);
    assert.match(final.output_text, /^I am Ledger/);
  },
  'progress of a long prompt is told to those who ask, and passed over by the client': async () => {
    await checkProgress(url, apiKey, '/v1/responses', { model, temperature: 0, max_output_tokens: 8, input: longPrompt('a response:') });
    const request = { model, temperature: 0, max_output_tokens: 8, input: longPrompt('another:') };
    const asked = await client.responses.stream(request, { headers: { 'x-prefill-progress': '1' } }).finalResponse();
    assert.equal(asked.output_text, (await create(request)).output_text);
  },
  'every ledger task, each call and the final answer, in four ways': async () => {
    const names = Object.keys(ways);
    await checkTasks(tasks, (task, index) => runTask(task, names[index % names.length]));
  },
  'sealed reasoning reaches the model again': async () => {
    const task = tasks.find(({ expected_calls: calls, tools: any }) => any && calls.length > 0);
    const input = messagesToInput(task.messages);
    const first = await create({ input, tools, store: false, include: ['reasoning.encrypted_content'] });
    const [thought] = thoughts(first);
    assert.ok(thought.encrypted_content.length > 0);
    assert.ok(!thought.encrypted_content.includes(thought.content[0].text));
    // With another call than the one sampled: a turn that the server knows is counted as it was, thoughts included.
    const count = async (reasoning, call = { arguments: '{"key":"another"}' }) => {
      const items = [...input, ...first.output.map((item) => (item.type === 'reasoning' ? reasoning : { ...item, ...call })),
        { type: 'function_call_output', call_id: first.output.at(-1).call_id, output: '{}' }];
      return (await client.responses.inputTokens.count({ model, input: items, tools })).input_tokens;
    };
    const { content, ...sealed } = thought;
    const { encrypted_content: _, ...plain } = thought;
    assert.equal(await count(sealed), await count(plain));
    // Changed, or another's: left out, as if the client had dropped it.
    const without = await count({ ...sealed, encrypted_content: `${sealed.encrypted_content.slice(0, -8)}AAAAAAAA` });
    assert.ok(without < await count(sealed));
    const damaged = { ...sealed, encrypted_content: 'AAAA' };
    assert.equal(await count(damaged, {}), await count(plain, {}), 'a turn that was sampled here is known without its thoughts');
  },
  'stored: retrieve, list the input, go on, delete': async () => {
    const first = await create({ input: [{ role: 'user', content: 'Hello.' }], metadata: { a: 'b' } });
    const { output_text: _, ...got } = await client.responses.retrieve(first.id);
    const { output_text: __, ...sent } = first;
    assert.deepEqual(got, sent);
    assert.deepEqual(got.metadata, { a: 'b' });
    const second = await create({ input: 'Who are you?', previous_response_id: first.id });
    assert.equal(second.previous_response_id, first.id);
    assert.ok(second.usage.input_tokens > first.usage.input_tokens);
    assert.ok(second.usage.input_tokens_details.cached_tokens >= 0);
    const items = [];
    for await (const item of client.responses.inputItems.list(second.id, { limit: 2, order: 'asc' })) items.push(item);
    assert.deepEqual(items.map(({ type, role }) => role ?? type), ['user', 'reasoning', 'assistant', 'user']);
    assert.ok(items.every(({ id }) => id));
    const newest = await client.responses.inputItems.list(second.id, { limit: 1 });
    assert.equal(newest.data[0].content[0].text, 'Who are you?');
    const referred = await create({ input: [{ type: 'item_reference', id: first.output[1].id }, { role: 'user', content: 'Hello.' }] });
    assert.equal(referred.status, 'completed');
    await assert.rejects(client.responses.cancel(first.id), OpenAI.BadRequestError);
    await client.responses.delete(first.id);
    await assert.rejects(client.responses.retrieve(first.id), OpenAI.NotFoundError);
    // What was built on it goes on.
    assert.equal((await create({ input: 'Hello.', previous_response_id: second.id })).status, 'completed');
  },
  'another key sees nothing of it': async () => {
    const mine = await create({ input: 'Hello.', include: ['reasoning.encrypted_content'] });
    for (const attempt of [
      () => stranger.responses.retrieve(mine.id),
      () => stranger.responses.delete(mine.id),
      () => stranger.responses.cancel(mine.id),
      () => stranger.responses.inputItems.list(mine.id),
      () => stranger.responses.create({ model, input: 'x', previous_response_id: mine.id }),
    ]) await assert.rejects(attempt, OpenAI.NotFoundError);
    await assert.rejects(stranger.responses.create({ model, input: [{ type: 'item_reference', id: mine.output[1].id }] }), OpenAI.BadRequestError);
    assert.equal((await client.responses.retrieve(mine.id)).id, mine.id);
  },
  'store: false keeps nothing': async () => {
    const response = await create({ input: 'Hello.', store: false });
    await assert.rejects(client.responses.retrieve(response.id), OpenAI.NotFoundError);
  },
  'limits, logprobs, truncation': async () => {
    const cut = await create({ input: 'Who are you?', max_output_tokens: 9 });
    assert.equal(cut.status, 'incomplete');
    assert.equal(cut.incomplete_details.reason, 'max_output_tokens');
    assert.equal(cut.usage.output_tokens, 9);
    const scored = await create({ input: 'Hello.', include: ['message.output_text.logprobs'], top_logprobs: 2 });
    const [part] = scored.output.at(-1).content;
    assert.ok(Buffer.concat(part.logprobs.map(({ bytes }) => Buffer.from(bytes))).toString().includes(part.text));
    assert.ok(part.logprobs.every(({ top_logprobs: top }) => top.length === 2));
    const long = [{ role: 'user', content: 'word '.repeat(3000) }, { role: 'assistant', content: 'ok' }, { role: 'user', content: 'Who are you?' }];
    await assert.rejects(create({ input: long }), (error) => error.status === 400 && error.code === 'context_length_exceeded' && error.param === 'input');
    const shortened = await create({ input: long, truncation: 'auto' });
    assert.match(shortened.output_text, /^I am Ledger/);
  },
  'errors: classes and fields': async () => {
    const bad = [
      [{ input: [] }, 'input'],
      [{ input: 'x', background: true }, 'background'],
      [{ input: 'x', conversation: 'conv_1' }, 'conversation'],
      [{ input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'http://x/' }] }] }, 'input[0].content[0].type'],
      [{ input: 'x', tools: [{ type: 'function', name: 'a b', parameters: {} }] }, 'tools[0].name'],
    ];
    for (const [request, param] of bad) {
      await assert.rejects(create(request), (error) => {
        assert.ok(error instanceof OpenAI.BadRequestError, `${error}`);
        assert.equal(error.param, param);
        return true;
      });
    }
    await assert.rejects(create({ input: 'x', previous_response_id: 'resp_0' }), (error) => {
      assert.equal(error.code, 'previous_response_not_found');
      return true;
    });
    await assert.rejects(create({ input: 'x', model: 'gpt-5' }), OpenAI.NotFoundError);
    for (const [path, method, allow] of [['responses', 'GET', 'POST'], ['responses/resp_1', 'PUT', 'GET, HEAD, DELETE'], ['responses/resp_1/cancel', 'GET', 'POST']]) {
      const answer = await fetch(`${url}/v1/${path}`, { method, headers: { authorization: `Bearer ${apiKey}` } });
      assert.deepEqual([answer.status, answer.headers.get('allow')], [405, allow], path);
    }
  },
};

await runChecks(checks);

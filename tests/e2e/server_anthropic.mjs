// SPDX-License-Identifier: Apache-2.0
// What Anthropic's client sees of the server. usage: node server_anthropic.mjs URL KEY MODEL_DIR THOUGHT_FILE; exit 1
// when a check fails. THOUGHT_FILE carries a turn from one run of the server to the next.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import Anthropic from '@anthropic-ai/sdk';
import { checkProgress, checkTasks, ledgerEntry, ledgerTasks, ledgerTool, longPrompt, metric, runChecks, until, user } from './checks.mjs';

const [url, apiKey, folder, thoughtFile] = process.argv.slice(2);
const client = new Anthropic({ baseURL: url, apiKey, authToken: null, maxRetries: 0, timeout: 60_000 });
const model = 'ledger';
const { parameters, ...described } = ledgerTool;
const tools = [{ ...described, input_schema: parameters }];
const tasks = ledgerTasks(folder);

const request = (more) => ({ model, max_tokens: 200, temperature: 0, ...more });
const create = (more, options) => client.messages.create(request(more), options);
const text = (message) => message.content.filter(({ type }) => type === 'text').map((block) => block.text).join('');
const said = ({ content, stop_reason: reason }) => ({ reason, content: content.map(({ id, ...block }) => block) });
const refuses = (promise, type, pattern, status) => assert.rejects(promise, (error) => {
  assert.ok(error instanceof type, `${error}`);
  assert.equal(error.status, status);
  assert.match(error.message, pattern);
  assert.match(error.requestID, /^req-/);
  assert.equal(error.error.request_id, error.requestID);
  return true;
});

// The events of a stream, in order and by name; every delta must be for the block that is open.
const events = async (stream) => {
  const out = [];
  let open = null;
  let blocks = 0;
  for await (const event of stream) {
    out.push(event.type);
    if (event.type === 'message_start') assert.ok(event.message.usage.input_tokens > 0, 'the start knows the prompt');
    if (event.type === 'content_block_start') {
      assert.equal(open, null);
      assert.equal(event.index, blocks);
      open = event.index;
      blocks += 1;
    } else if (event.type === 'content_block_delta') {
      assert.equal(event.index, open);
    } else if (event.type === 'content_block_stop') {
      assert.equal(event.index, open);
      open = null;
    }
  }
  assert.equal(open, null);
  return out;
};

// A task's history, which is written as OpenAI has it.
const translated = (history) => history.map((message) => {
  if (message.role === 'tool') {
    return { role: 'user', content: [{ type: 'tool_result', tool_use_id: message.tool_call_id, content: message.content }] };
  }
  if (message.role !== 'assistant') return message;
  const content = [];
  if (message.reasoning_content) content.push({ type: 'thinking', thinking: message.reasoning_content, signature: '' });
  if (message.content) content.push({ type: 'text', text: message.content });
  for (const { id, function: called } of message.tool_calls ?? []) {
    content.push({ type: 'tool_use', id, name: called.name, input: JSON.parse(called.arguments) });
  }
  return { role: 'assistant', content };
});

// Runs one ledger task through the tool; thinking blocks go back as they came.
const runTask = async (task, streamed) => {
  const messages = translated(task.messages);
  const calls = [];
  for (let turn = 0; turn < 12; ++turn) {
    const body = request({ messages, tools: task.tools ? tools : undefined });
    const message = streamed ? await client.messages.stream(body).finalMessage() : await client.messages.create(body);
    messages.push({ role: 'assistant', content: message.content });
    const uses = message.content.filter(({ type }) => type === 'tool_use');
    if (uses.length === 0) {
      assert.equal(message.stop_reason, 'end_turn');
      return { calls, final: text(message) };
    }
    assert.equal(message.stop_reason, 'tool_use');
    const results = [];
    for (const use of uses) {
      assert.match(use.id, /^toolu_[a-zA-Z0-9_-]+$/);
      calls.push({ name: use.name, arguments: JSON.stringify(use.input) });
      results.push({ type: 'tool_result', tool_use_id: use.id, content: ledgerEntry(task, use.input) });
    }
    messages.push({ role: 'user', content: results });
  }
  return { calls, final: null };
};

const checks = {
  'models: list, retrieve, unknown': async () => {
    const ids = [];
    for await (const entry of client.models.list()) ids.push(entry.id);
    assert.deepEqual(ids, [model]);
    const entry = await client.models.retrieve(model);
    assert.equal(entry.type, 'model');
    assert.ok(entry.max_input_tokens > 0);
    assert.ok(!Number.isNaN(Date.parse(entry.created_at)));
    await refuses(client.models.retrieve('claude-opus-5-5'), Anthropic.NotFoundError, /is not served here/, 404);
  },
  'messages: whole answer': async () => {
    const message = await create({ messages: user('Who are you?') });
    assert.match(text(message), /^I am Ledger/);
    assert.equal(message.role, 'assistant');
    assert.equal(message.model, model);
    assert.equal(message.content[0].type, 'thinking');
    assert.ok(message.content[0].signature.length > 0);
    assert.equal(message.stop_reason, 'end_turn');
    assert.equal(message.stop_sequence, null);
    assert.ok(message.usage.input_tokens > 0);
    assert.ok(message.usage.output_tokens_details.thinking_tokens > 0);
    assert.match(message._request_id, /^req-/);
    assert.match(message.id, /^msg_/);
  },
  'messages: a stream says the same as the whole, in order': async () => {
    const messages = user('What is the value of AIR?');
    const whole = await create({ messages, tools });
    const helper = client.messages.stream(request({ messages, tools }));
    const final = await helper.finalMessage();
    assert.deepEqual(said(final), said(whole));
    assert.equal(final.usage.output_tokens, whole.usage.output_tokens);
    assert.equal(final.usage.input_tokens + final.usage.cache_read_input_tokens,
      whole.usage.input_tokens + whole.usage.cache_read_input_tokens);
    const order = await events(await create({ messages, tools, stream: true }));
    assert.equal(order[0], 'message_start');
    assert.equal(order[1], 'content_block_start');
    assert.deepEqual(order.slice(-2), ['message_delta', 'message_stop']);
    const use = final.content.find(({ type }) => type === 'tool_use');
    assert.deepEqual(use.input, { key: 'AIR' });
    assert.equal(final.stop_reason, 'tool_use');
  },
  'messages: every ledger task, each call and the final answer': () =>
    checkTasks(tasks, (task, index) => runTask(task, index % 2 === 1), ({ name, arguments: json }) => ({ name, arguments: json })),
  'messages: the tool runner of the SDK': async () => {
    const ledger = { AIR: { next: 'BOX', value: 7 } };
    const runner = client.beta.messages.toolRunner(request({
      messages: user('What is the value of AIR?'), max_iterations: 4,
      tools: [{ ...tools[0], run: async ({ key }) => JSON.stringify(ledger[key] ?? { error: 'not found' }), parse: (x) => x }],
    }));
    const final = await runner;
    assert.equal(final.stop_reason, 'end_turn');
    assert.match(text(final), /7/);
  },
  'system: string, blocks, in the middle': async () => {
    const asText = await create({ system: 'Be brief.', messages: user('Hello.') });
    const asBlocks = await create({ system: [{ type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral' } }], messages: user('Hello.') });
    assert.deepEqual(said(asBlocks), said(asText));
    const middle = await create({ messages: [...user('Hello.'), { role: 'system', content: 'Be brief.' }] });
    assert.equal(middle.stop_reason, 'end_turn');
  },
  'prefill goes on where the client stopped': async () => {
    const message = await create({ messages: [...user('Who are you?'),
      { role: 'assistant', content: [{ type: 'thinking', thinking: 'no tool needed', signature: '' }, { type: 'text', text: 'I am Ledger, a' }] }] });
    assert.equal(text(message), ' tiny test model with the Kimi K2 architecture. I am not Kimi.');
  },
  'stop sequences, max_tokens, a full context': async () => {
    const stopped = await create({ messages: user('Who are you?'), stop_sequences: ['tiny', 'never'] });
    assert.equal(stopped.stop_reason, 'stop_sequence');
    assert.equal(stopped.stop_sequence, 'tiny');
    assert.match(text(stopped), /^I am Ledger, a $/);
    const cut = await create({ messages: user('Who are you?'), max_tokens: 9 });
    assert.equal(cut.stop_reason, 'max_tokens');
    assert.equal(cut.usage.output_tokens, 9);
    const clamped = await create({ messages: user('Who are you?'), max_tokens: 262_144 });
    assert.equal(clamped.stop_reason, 'end_turn');
  },
  'thoughts: signed, sealed, altered, of another maker, and after a restart': async () => {
    const messages = user('What is the value of AIR?');
    const follow = (thought, rest) => [...messages, { role: 'assistant', content: [thought, ...rest] },
      { role: 'user', content: [{ type: 'tool_result', tool_use_id: rest.at(-1).id, content: '{"next":"BOX","value":7}' }] }];
    const shown = await create({ messages, tools, thinking: { type: 'adaptive', display: 'summarized' } });
    const hidden = await create({ messages, tools, thinking: { type: 'adaptive', display: 'omitted' } });
    const [thought, ...rest] = shown.content;
    const [sealed, ...sealedRest] = hidden.content;
    assert.equal(sealed.thinking, '');
    assert.ok(thought.thinking.length > 0);
    const known = await create({ messages: follow(thought, rest), tools });
    assert.match(text(known), /7/);
    const opened = await create({ messages: follow(sealed, sealedRest), tools });
    assert.deepEqual(said(opened), said(known));
    assert.equal(opened.usage.input_tokens + opened.usage.cache_read_input_tokens,
      known.usage.input_tokens + known.usage.cache_read_input_tokens);
    const redacted = await create({ messages: follow({ type: 'redacted_thinking', data: sealed.signature }, sealedRest), tools });
    assert.deepEqual(said(redacted), said(known));
    const foreign = await create({ messages: follow({ ...thought, signature: 'EqQBCgIYAhIM' }, rest), tools });
    assert.deepEqual(said(foreign), said(known));
    await refuses(create({ messages: follow({ ...thought, thinking: `${thought.thinking}!` }, rest), tools }),
      Anthropic.BadRequestError, /messages\.1\.content\.0: Invalid `signature` in `thinking` block/, 400);
    if (existsSync(thoughtFile)) {
      const before = JSON.parse(readFileSync(thoughtFile, 'utf8'));
      assert.deepEqual(before.thought, thought);
      assert.deepEqual(said(await create({ messages: follow(before.sealed, sealedRest), tools })), said(known));
    }
    writeFileSync(thoughtFile, JSON.stringify({ thought, sealed }));
  },
  'count_tokens agrees with usage': async () => {
    const count = await client.messages.countTokens({ model, messages: user('Hello.'), tools, system: 'Be brief.' });
    const { usage } = await create({ messages: user('Hello.'), tools, system: 'Be brief.' });
    assert.equal(count.input_tokens, usage.input_tokens + usage.cache_read_input_tokens);
  },
  'usage counts cached tokens, and max_tokens 0 caches': async () => {
    const messages = user(`${'You are Kimi, an AI assistant created by Moonshot AI. '.repeat(6)}Hello.`);
    const warm = await create({ messages, max_tokens: 0 });
    assert.deepEqual(warm.content, []);
    assert.equal(warm.usage.output_tokens, 0);
    const { usage } = await create({ messages });
    assert.ok(usage.cache_read_input_tokens > 0);
    for await (const event of await create({ messages, stream: true })) {
      if (event.type === 'message_start') assert.equal(event.message.usage.cache_read_input_tokens, usage.cache_read_input_tokens);
    }
    assert.equal(usage.input_tokens + usage.cache_read_input_tokens, warm.usage.input_tokens + warm.usage.cache_read_input_tokens);
  },
  'betas, unknown members and tools that run elsewhere are tolerated': async () => {
    const plain = await create({ messages: user('Hello.') });
    const message = await client.beta.messages.create(request({
      messages: user('Hello.'), tools: [{ type: 'web_search_20250305', name: 'web_search' }], betas: ['context-management-2025-06-27', 'x-2099'],
      context_management: { edits: [{ type: 'clear_tool_uses_20250919' }] }, metadata: { user_id: 'u' }, inference_geo: 'us',
      output_config: { effort: 'high' }, brand_new: { a: 1 },
    }));
    assert.deepEqual(said(message), said(plain));
    assert.deepEqual(message.context_management, { applied_edits: [] });
  },
  'threads fall back to whole conversations': async () => {
    await assert.rejects(client.beta.messages.create({ ...request({ messages: user('Hello.') }), thread: { type: 'create' } }), (error) => {
      assert.ok(error instanceof Anthropic.BadRequestError);
      assert.equal(error.errorCode, 'thread_unsupported_request');
      assert.deepEqual(error.details.unsupported, ['thread']);
      return true;
    });
  },
  'errors: classes, types and fields': async () => {
    const bad = [
      [{ messages: [] }, /messages: at least one message/],
      [{ messages: user('x'), temperature: 1.5 }, /temperature/],
      [{ messages: user('x'), max_tokens: -1 }, /max_tokens/],
      [{ messages: user([{ type: 'image', source: { type: 'url', url: 'http://127.0.0.1:1/' } }]) }, /messages\.0\.content\.0\.type: .*reads text/],
      [{ messages: user([{ type: 'tool_result', tool_use_id: 'x' }]) }, /unexpected `tool_use_id`/],
      [{ messages: user('x'), tools: [{ name: 'a b', input_schema: {} }] }, /tools\.0\.name/],
      [{ messages: user('word '.repeat(3000)) }, /prompt is too long: \d+ tokens > \d+ maximum/],
    ];
    for (const [more, pattern] of bad) {
      await refuses(create(more), Anthropic.BadRequestError, pattern, 400);
      await refuses(create({ ...more, stream: true }), Anthropic.BadRequestError, pattern, 400);
    }
    await refuses(create({ messages: user('x'), model: 'claude-opus-5-5' }), Anthropic.NotFoundError, /is not served here/, 404);
    const stranger = new Anthropic({ baseURL: url, apiKey: 'wrong', authToken: null, maxRetries: 0 });
    await refuses(stranger.messages.create(request({ messages: user('x') })), Anthropic.AuthenticationError, /API key/, 401);
    const bearer = new Anthropic({ baseURL: `${url}/anthropic`, apiKey: null, authToken: apiKey, maxRetries: 0 });
    assert.match(text(await bearer.messages.create(request({ messages: user('Who are you?') }))), /^I am Ledger/);
  },
  'progress of a long prompt is told to those who ask, and passed over by the client': async () => {
    await checkProgress(url, apiKey, '/v1/messages', request({ messages: longPrompt('first'), max_tokens: 8 }));
    const body = request({ messages: longPrompt('second'), max_tokens: 8 });
    const asked = await client.messages.stream(body, { headers: { 'x-prefill-progress': '1' } }).finalMessage();
    assert.deepEqual(said(asked), said(await create({ messages: body.messages, max_tokens: 8 })));
    await events(await create({ messages: longPrompt('third'), max_tokens: 8, stream: true }, { headers: { 'x-prefill-progress': '1' } }));
  },
  'an aborted stream leaves nothing behind': async () => {
    const stream = client.messages.stream(request({ messages: user('Tell me a joke.'), temperature: 1, max_tokens: 500 }));
    for await (const event of stream) {
      if (event.type === 'content_block_delta') break;
    }
    await until(async () => (await metric(url, apiKey, 'baltoro_sequences_running')) === 0, 'nothing runs');
  },
};

await runChecks(checks);

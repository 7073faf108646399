// SPDX-License-Identifier: Apache-2.0
// What the openai client sees of the server. usage: node server_openai.mjs URL KEY MODEL_DIR; exit 1 when a check fails.
// Plain JavaScript for Node 18 and later, nothing but the client.
import assert from 'node:assert/strict';
import OpenAI from 'openai';
import { checkProgress, checkTasks, ledgerEntry, ledgerTasks, ledgerTool, longPrompt, metric as readMetric, runChecks, until, user } from './checks.mjs';

const [url, apiKey, folder] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, timeout: 60_000 });
const model = 'ledger';
const tools = [{ type: 'function', function: ledgerTool }];
const tasks = ledgerTasks(folder);
const metric = (name) => readMetric(url, apiKey, name);

const chat = (request, options) => client.chat.completions.create({ model, temperature: 0, ...request }, options);
const complete = (request) => client.completions.create({ model, temperature: 0, ...request });

// Gathers a stream as the client hands it out.
const gather = async (stream) => {
  const out = { content: '', reasoning: '', calls: [], finish: null, usage: null, roles: 0, chunks: 0 };
  for await (const chunk of stream) {
    assert.equal(chunk.object, 'chat.completion.chunk');
    out.chunks += 1;
    if (chunk.usage) out.usage = chunk.usage;
    for (const { delta, finish_reason: finish } of chunk.choices) {
      if (delta.role) out.roles += 1;
      out.content += delta.content ?? '';
      out.reasoning += delta.reasoning_content ?? '';
      for (const part of delta.tool_calls ?? []) {
        const call = (out.calls[part.index] ??= { id: '', name: '', arguments: '' });
        call.id += part.id ?? '';
        call.name += part.function?.name ?? '';
        call.arguments += part.function?.arguments ?? '';
      }
      if (finish) out.finish = finish;
    }
  }
  return out;
};

// Runs one ledger task through the tool until the model answers; every call must be the expected one.
const runTask = async (task, streamed) => {
  const messages = [...task.messages];
  const calls = [];
  for (let turn = 0; turn < 12; ++turn) {
    let message;
    if (streamed) {
      const got = await gather(await chat({ messages, tools: task.tools ? tools : undefined, stream: true }));
      message = {
        role: 'assistant', content: got.content, reasoning_content: got.reasoning,
        tool_calls: got.calls.map(({ id, name, arguments: text }) => ({ id, type: 'function', function: { name, arguments: text } })),
      };
      if (message.tool_calls.length === 0) delete message.tool_calls;
    } else {
      message = (await chat({ messages, tools: task.tools ? tools : undefined })).choices[0].message;
    }
    messages.push(message);
    if (!message.tool_calls) return { calls, final: message.content };
    for (const call of message.tool_calls) {
      calls.push({ id: call.id, name: call.function.name, arguments: call.function.arguments });
      messages.push({ role: 'tool', tool_call_id: call.id, name: 'get', content: ledgerEntry(task, JSON.parse(call.function.arguments)) });
    }
  }
  return { calls, final: null };
};

const checks = {
  'models: list, retrieve, unknown': async () => {
    const list = await client.models.list();
    assert.deepEqual(list.data.map(({ id }) => id), [model]);
    const one = await client.models.retrieve(model);
    assert.equal(one.object, 'model');
    assert.equal(one.max_model_len, one.context_length);
    assert.equal(one.supports_reasoning, true);
    await assert.rejects(client.models.retrieve('other/model'), OpenAI.NotFoundError);
  },
  'chat: whole answer': async () => {
    const answer = await chat({ messages: user('Who are you?') });
    const [choice] = answer.choices;
    assert.match(choice.message.content, /^I am Ledger/);
    assert.equal(choice.message.role, 'assistant');
    assert.equal(choice.message.refusal, null);
    assert.ok(choice.message.reasoning_content.length > 0);
    assert.equal(choice.finish_reason, 'stop');
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
    assert.match(answer._request_id, /^req-/);
  },
  'chat: a stream says the same as the whole': async () => {
    const messages = user('What can you do?');
    const whole = await chat({ messages });
    const got = await gather(await chat({ messages, stream: true, stream_options: { include_usage: true } }));
    assert.equal(got.content, whole.choices[0].message.content);
    assert.equal(got.reasoning, whole.choices[0].message.reasoning_content);
    assert.equal(got.finish, 'stop');
    assert.equal(got.roles, 1);
    assert.equal(got.usage.completion_tokens, whole.usage.completion_tokens);
    assert.equal(got.usage.prompt_tokens, whole.usage.prompt_tokens);
  },
  'chat: the stream helper puts tool calls together': async () => {
    const stream = client.chat.completions.stream({ model, temperature: 0, messages: user('What is the value of AIR?'), tools });
    const final = await stream.finalChatCompletion();
    assert.equal(final.choices[0].finish_reason, 'tool_calls');
    assert.deepEqual(JSON.parse(final.choices[0].message.tool_calls[0].function.arguments), { key: 'AIR' });
  },
  'chat: every ledger task, each call and the final answer': () => checkTasks(tasks, (task, index) => runTask(task, index % 2 === 1)),
  'chat: contents as parts, developer role, name': async () => {
    const asText = await chat({ messages: user('Hello.') });
    const asParts = await chat({ messages: [{ role: 'user', content: [{ type: 'text', text: 'Hel' }, { type: 'text', text: 'lo.' }] }] });
    assert.equal(asParts.choices[0].message.content, asText.choices[0].message.content);
    assert.equal(asParts.usage.prompt_tokens, asText.usage.prompt_tokens);
    const developer = await chat({ messages: [{ role: 'developer', content: 'Be brief.' }, ...user('Hello.')] });
    const system = await chat({ messages: [{ role: 'system', content: 'Be brief.' }, ...user('Hello.')] });
    assert.deepEqual(developer.choices[0].message, system.choices[0].message);
  },
  'chat: tools declared by a system message, built in, or narrowed': async () => {
    const question = user('What is the value of AIR?');
    const asked = await chat({ messages: question, tools });
    const declared = await chat({ messages: [{ role: 'system', content: '', tools }, ...question] });
    assert.deepEqual(declared.choices[0].message, asked.choices[0].message);
    assert.equal(declared.usage.prompt_tokens, asked.usage.prompt_tokens);
    const other = { type: 'function', function: { name: 'other', parameters: {} } };
    const narrowed = await chat({
      messages: question, tools: [other, ...tools],
      tool_choice: { type: 'allowed_tools', allowed_tools: { mode: 'auto', tools: [{ type: 'function', function: { name: 'get' } }] } },
    });
    const all = await chat({ messages: question, tools: [other, ...tools] });
    assert.equal(narrowed.usage.prompt_tokens, all.usage.prompt_tokens);  // a prefix stays a prefix
    const none = await chat({ messages: question, tools: [other, ...tools], tool_choice: 'none', max_tokens: 20 });
    assert.equal(none.usage.prompt_tokens, all.usage.prompt_tokens);
    assert.equal(none.choices[0].message.tool_calls, undefined);
    const search = { type: 'builtin_function', function: { name: '$web_search' } };
    const call = { id: '$web_search:0', type: 'builtin_function', function: { name: '$web_search', arguments: '{"q":"x"}' } };
    const echoed = await chat({
      messages: [...question, { role: 'assistant', content: '', tool_calls: [call] }, { role: 'tool', tool_call_id: call.id, name: '$web_search', content: call.function.arguments }],
      tools: [search], max_tokens: 4,
    });
    assert.equal(echoed.choices.length, 1);
  },
  'chat: what an answer says of itself': async () => {
    const first = await chat({ messages: user('Hello.'), store: true, metadata: { a: 'b' }, user: 'u', safety_identifier: 's', prompt_cache_key: 'k', prediction: { type: 'content', content: 'x' }, service_tier: 'auto' });
    const second = await chat({ messages: user('Who are you?') });
    assert.equal(first.service_tier, 'default');
    assert.match(first.system_fingerprint, /^fp_/);
    assert.equal(second.system_fingerprint, first.system_fingerprint);
    assert.equal((await complete({ prompt: 'x', max_tokens: 1 })).system_fingerprint, first.system_fingerprint);
    assert.deepEqual(first.choices[0].message.annotations, []);
    assert.equal(first.choices[0].logprobs, null);
  },
  'tokenize and detokenize': async () => {
    const text = 'Zwölf Boxkämpfer <|im_end|> 你好';
    const { tokens } = await client.post('/tokenize', { body: { prompt: text } });
    assert.equal((await client.post('/detokenize', { body: { tokens } })).prompt, text);
    await assert.rejects(client.post('/detokenize', { body: { tokens: [99999999] } }), OpenAI.BadRequestError);
    await assert.rejects(client.post('/detokenize', { body: { tokens: [-1] } }), OpenAI.BadRequestError);
  },
  'chat: partial goes on where the client stopped': async () => {
    const begun = { role: 'assistant', reasoning_content: 'no tool needed', content: 'I am Ledger, a', partial: true };
    const { choices } = await chat({ messages: [...user('Who are you?'), begun] });
    assert.equal(choices[0].message.content, ' tiny test model with the Kimi K2 architecture. I am not Kimi.');
  },
  'chat: n choices share a prompt': async () => {
    const answer = await chat({ messages: user('Hello.'), n: 3, temperature: 1, seed: 5 });
    assert.deepEqual(answer.choices.map(({ index }) => index), [0, 1, 2]);
    for (const { message } of answer.choices) assert.equal(typeof message.content, 'string');
    const one = await chat({ messages: user('Hello.') });
    assert.equal(answer.usage.prompt_tokens, one.usage.prompt_tokens);
  },
  'chat: a seed repeats, and another differs': async () => {
    const run = async (seed) => {
      const answer = await chat({ messages: user('Tell me a joke.'), temperature: 2, seed, max_tokens: 40, ignore_eos: true });
      return answer.choices[0].message;
    };
    const first = await run(7);
    assert.deepEqual(await run(7), first);
    assert.notDeepEqual(await run(8), first);
  },
  'chat: logprobs fit the tokens': async () => {
    const { choices: [choice], usage } = await chat({ messages: user('Hello.'), logprobs: true, top_logprobs: 3 });
    assert.ok(Math.abs(choice.logprobs.content.length - usage.completion_tokens) <= 1);
    const text = Buffer.concat(choice.logprobs.content.map(({ bytes }) => Buffer.from(bytes))).toString();
    assert.ok(text.includes(choice.message.content), text);
    for (const entry of choice.logprobs.content) {
      assert.ok(entry.logprob <= 0);
      assert.equal(entry.top_logprobs.length, 3);
      assert.ok(entry.top_logprobs[0].logprob >= entry.logprob - 1e-6);
    }
    const stream = await chat({ messages: user('Hello.'), logprobs: true, top_logprobs: 3, stream: true });
    const streamed = [];
    for await (const chunk of stream) streamed.push(...(chunk.choices[0]?.logprobs?.content ?? []));
    assert.deepEqual(streamed, choice.logprobs.content);
  },
  'chat: stop strings, max_tokens, logit_bias': async () => {
    const stopped = await chat({ messages: user('Who are you?'), stop: ['tiny', 'never'] });
    assert.equal(stopped.choices[0].finish_reason, 'stop');
    assert.match(stopped.choices[0].message.content, /^I am Ledger, a $/);
    const cut = await chat({ messages: user('Who are you?'), max_completion_tokens: 9 });
    assert.equal(cut.choices[0].finish_reason, 'length');
    assert.equal(cut.usage.completion_tokens, 9);
    const clamped = await chat({ messages: user('Who are you?'), max_tokens: 262144 });
    assert.equal(clamped.choices[0].finish_reason, 'stop');
    const biased = await complete({ prompt: 'x', max_tokens: 3, logit_bias: { 65: 100 } });
    assert.equal(biased.choices[0].text, 'AAA');
  },
  'completions: whole, streamed, several prompts, token ids, echo': async () => {
    const whole = await complete({ prompt: 'The sum is', max_tokens: 8 });
    assert.equal(whole.object, 'text_completion');
    assert.equal(whole.usage.completion_tokens, 8);
    let text = '';
    for await (const chunk of await complete({ prompt: 'The sum is', max_tokens: 8, stream: true })) text += chunk.choices[0].text;
    assert.equal(text, whole.choices[0].text);
    const both = await complete({ prompt: ['The sum is', 'You reach'], max_tokens: 8 });
    assert.equal(both.choices[0].text, whole.choices[0].text);
    assert.deepEqual(both.choices.map(({ index }) => index), [0, 1]);
    const tokenized = await client.post('/tokenize', { body: { prompt: 'The sum is' } });
    const byIds = await complete({ prompt: tokenized.tokens, max_tokens: 8 });
    assert.equal(byIds.choices[0].text, whole.choices[0].text);
    const echo = await complete({ prompt: 'The sum is', max_tokens: 8, echo: true, logprobs: 2 });
    assert.equal(echo.choices[0].text, `The sum is${whole.choices[0].text}`);
    const { tokens, token_logprobs: logprobs, text_offset: offsets } = echo.choices[0].logprobs;
    assert.equal(tokens.length, tokenized.count + 8);
    assert.equal(logprobs[0], null);
    assert.ok(logprobs.slice(1).every((value) => value <= 0));
    assert.equal(offsets[0], 0);
    const scored = await complete({ prompt: 'The sum is', max_tokens: 0, echo: true, logprobs: 0 });
    assert.equal(scored.choices[0].text, 'The sum is');
    assert.equal(scored.choices[0].logprobs.tokens.length, tokenized.count);
  },
  'tokenizers/estimate-token-count agrees with usage': async () => {
    const count = await client.post('/tokenizers/estimate-token-count', { body: { model, messages: user('Hello.') } });
    assert.equal(count.data.total_tokens, (await chat({ messages: user('Hello.') })).usage.prompt_tokens);
  },
  'usage counts cached tokens': async () => {
    const messages = [{ role: 'system', content: 'You are Kimi, an AI assistant created by Moonshot AI. '.repeat(6) }, ...user('Hello.')];
    await chat({ messages });
    const { usage } = await chat({ messages });
    assert.ok(usage.prompt_tokens_details.cached_tokens > 0);
    assert.ok(usage.prompt_tokens_details.cached_tokens < usage.prompt_tokens);
    assert.equal(usage.cached_tokens, usage.prompt_tokens_details.cached_tokens);
  },
  'errors: classes and fields': async () => {
    const bad = [
      [{ messages: [] }, 'messages'],
      [{ messages: user('x'), temperature: 3 }, 'temperature'],
      [{ messages: user('x'), n: 0 }, 'n'],
      [{ messages: user('x'), logit_bias: { 999999: 1 } }, 'logit_bias'],
      [{ messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'http://x/' } }] }] }, 'messages[0].content[0].type'],
      [{ messages: user('x'), tools: [{ type: 'function', function: { name: 'a b' } }] }, 'tools[0].function.name'],
      [{ messages: user('word '.repeat(3000)) }, 'messages', 'context_length_exceeded'],
    ];
    for (const [request, param, code = 'invalid_value'] of bad) {
      await assert.rejects(chat(request), (error) => {
        assert.ok(error instanceof OpenAI.BadRequestError, `${error}`);
        assert.equal(error.status, 400);
        assert.equal(error.type, 'invalid_request_error');
        assert.equal(error.param, param);
        assert.equal(error.code, code);
        return true;
      });
    }
    await assert.rejects(chat({ messages: user('x'), model: 'gpt-5' }), (error) => {
      assert.ok(error instanceof OpenAI.NotFoundError);
      assert.equal(error.code, 'model_not_found');
      return true;
    });
    const stranger = new OpenAI({ baseURL: `${url}/v1`, apiKey: 'wrong', maxRetries: 0 });
    await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
  },
  'an aborted stream and an aborted request free their work': async () => {
    const endless = { messages: user('Tell me a joke.'), ignore_eos: true, max_tokens: 900, n: 8, temperature: 1 };
    const cancelled = await metric('baltoro_requests_cancelled_total');
    const stream = await chat({ ...endless, stream: true });
    for await (const chunk of stream) {
      if (chunk) break;  // leaving the loop aborts the request
    }
    await until(async () => (await metric('baltoro_requests_cancelled_total')) === cancelled + 1, 'the stream was cancelled');
    const controller = new AbortController();
    const pending = chat(endless, { signal: controller.signal });
    await until(async () => (await metric('baltoro_sequences_running')) > 0, 'the request runs');
    controller.abort();
    await assert.rejects(pending, OpenAI.APIUserAbortError);
    await until(async () => (await metric('baltoro_requests_cancelled_total')) === cancelled + 2, 'the request was cancelled');
    await until(async () => (await metric('baltoro_sequences_running')) === 0, 'nothing runs');
  },
  'progress of a long prompt is told to those who ask, and passed over by the client': async () => {
    await checkProgress(url, apiKey, '/v1/chat/completions', { model, temperature: 0, max_tokens: 8, messages: longPrompt('first') });
    const request = { messages: longPrompt('second'), max_tokens: 8, stream: true };
    const asked = await gather(await chat(request, { headers: { 'x-prefill-progress': '1' } }));
    const plain = await gather(await chat(request));
    assert.equal(asked.content, plain.content);  // not the chunks: those of a slow moment are merged
    assert.equal(asked.finish, plain.finish);
  },
  '32 concurrent streams say what each says alone': async () => {
    const requests = [];
    for (let i = 0; i < 32; ++i) {
      const task = tasks[i % tasks.length];
      requests.push({ messages: task.messages, tools: task.tools ? tools : undefined, seed: i, temperature: i % 2, max_tokens: 60 });
    }
    const alone = [];
    for (const request of requests) alone.push(await gather(await chat({ ...request, stream: true })));
    const together = await Promise.all(requests.map(async (request) => gather(await chat({ ...request, stream: true }))));
    const said = ({ content, reasoning, calls, finish }) => ({ content, reasoning, calls, finish });
    assert.deepEqual(together.map(said), alone.map(said));
    assert.equal(await metric('baltoro_sequences_running'), 0);
  },
};

await runChecks(checks);

// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Answer, requestBody } from '../../../web/answer.js';
import { prettyJson } from '../../../web/pretty.js';
import { ServerError, readProgress, retrySeconds, streamChat } from '../../../web/server.js';
import { DEFAULTS, Settings, cleanSettings, readNumber, readTools, summarize } from '../../../web/settings.js';

const delta = (fields, more = {}) => ({ choices: [{ index: 0, delta: fields, finish_reason: null, ...more }] });

test('an answer gathers thinking, text, calls, usage and times', () => {
  const answer = new Answer(1000);
  assert.deepEqual(answer.take({ choices: [] }, 1100), { content: '', reasoning: '', calls: false });
  answer.take(delta({ role: 'assistant', content: '' }), 1200);
  assert.equal(answer.times.first, null);
  answer.take(delta({ reasoning_content: 'hm' }), 2000);
  assert.equal(answer.thinkingSeconds(3500), 1.5);
  answer.take(delta({ content: 'a' }), 4000);
  answer.take(delta({ tool_calls: [{ index: 0, id: 'x', function: { name: 'f', arguments: '' } }] }), 4100);
  answer.take(delta({ tool_calls: [{ index: 1, id: 'y', function: { name: 'g' } }, { index: 0, function: { arguments: '{}' } }] }), 5000);
  answer.take(delta({}, { finish_reason: 'tool_calls' }), 5000);
  answer.take({ choices: [], usage: { prompt_tokens: 9, completion_tokens: 31, prompt_tokens_details: { cached_tokens: 4 }, completion_tokens_details: { reasoning_tokens: 2 } } }, 5000);
  answer.end(6000);
  assert.deepEqual(answer.calls, [{ id: 'x', name: 'f', arguments: '{}' }, { id: 'y', name: 'g', arguments: '' }]);
  assert.equal(answer.finish, 'tool_calls');
  assert.deepEqual(answer.stats(), { prompt: 9, cached: 4, output: 31, reasoning: 2, first: 1, thinking: 2, rate: 10 });
});

test('an answer takes whatever a stream holds', () => {
  const answer = new Answer(0);
  const odd = [{}, { choices: 'x' }, { choices: [null] }, delta(null), delta({ content: 7, reasoning_content: [], tool_calls: 'x' }), delta({ tool_calls: [null, {}, { index: 1e9 }, { index: -1 }] }),
    { usage: 'x' }, { usage: { prompt_tokens: 'many', completion_tokens: -1 } }, { choices: [{ index: 5, delta: { content: 'other' } }] }];
  for (const chunk of odd) answer.take(chunk, 1);
  assert.equal(answer.content, '');
  assert.deepEqual(answer.usage, {});
  assert.ok(answer.calls.length <= 1);
});

test('a request leaves out calls without a result and empty answers', () => {
  const call = (id) => ({ id, name: 'f', arguments: '{}' });
  const messages = [
    { role: 'user', content: 'a' },
    { role: 'assistant', content: '', reasoning: 'r', calls: [call('1'), call('2')] },
    { role: 'tool', call: '1', content: 'ok' },
    { role: 'assistant', content: '', reasoning: '', calls: [call('1')] },
    { role: 'user', content: 'b' },
    { role: 'assistant', content: '', reasoning: '', calls: [] },
  ];
  const body = requestBody(messages, { ...DEFAULTS, system: 's', temperature: 0, seed: 7, thinking: 'off' }, 'm', []);
  assert.deepEqual(body.messages, [
    { role: 'system', content: 's' },
    { role: 'user', content: 'a' },
    { role: 'assistant', content: '', reasoning_content: 'r', tool_calls: [{ id: '1', type: 'function', function: { name: 'f', arguments: '{}' } }] },
    { role: 'tool', tool_call_id: '1', content: 'ok' },
    { role: 'user', content: 'b' },
  ]);
  assert.equal(body.temperature, 0);
  assert.equal(body.seed, 7);
  assert.ok(!('top_p' in body) && !('max_tokens' in body) && !('tools' in body));
  assert.deepEqual(body.thinking, { type: 'disabled' });
});

test('numbers and tools as people type them', () => {
  assert.equal(readNumber('temperature', ' '), null);
  assert.equal(readNumber('temperature', '0.7'), 0.7);
  for (const [name, text] of [['temperature', '3'], ['top_p', '-1'], ['max_tokens', '1.5'], ['max_tokens', '0'], ['seed', 'x'], ['seed', '1e300'], ['temperature', 'NaN']]) {
    assert.equal(readNumber(name, text), undefined, `${name} ${text}`);
  }
  const tool = { type: 'function', function: { name: 'f', description: undefined, parameters: { type: 'object' }, strict: undefined } };
  for (const text of ['[{"name":"f","parameters":{"type":"object"}}]', '{"tools":[{"type":"function","command":["rm"],"function":{"name":"f","parameters":{"type":"object"}}}]}']) {
    assert.deepEqual(readTools(text).tools, [tool]);
  }
  for (const text of ['{', '{}', '[1]', '[{"name":""}]', '[{"name":"f","parameters":[]}]', 'null', JSON.stringify(Array(129).fill({ name: 'f' }))]) {
    assert.ok(readTools(text).error, text);
  }
  assert.deepEqual(readTools(''), { tools: [] });
});

test('damaged settings become the defaults, field by field', () => {
  assert.deepEqual(cleanSettings({ temperature: 99, top_p: 'x', seed: 3, system: 5, thinking: 'maybe', tools: '[]' }), { ...DEFAULTS, seed: 3, tools: '[]' });
  const broken = { getItem: () => '{"temp', setItem() { throw new Error('full'); } };
  const settings = new Settings(broken, null);
  assert.deepEqual(settings.values, DEFAULTS);
  settings.set('seed', 5);
  settings.setKey(' k ');
  assert.equal(settings.key, 'k');
  assert.equal(summarize(settings.values, 1), 'seed 5 · 1 tool');
});

test('JSON is laid out without touching numbers and strings', () => {
  assert.equal(prettyJson('{"a":[1.500,{}],"b":"{\\"x\\":[,]}","c":12345678901234567890,"d":[ ]}'), '{\n  "a": [\n    1.500,\n    {}\n  ],\n  "b": "{\\"x\\":[,]}",\n  "c": 12345678901234567890,\n  "d": []\n}');
  assert.equal(prettyJson('{"key":"AIR","n":[1,2,3]}'), '{\n  "key": "AIR",\n  "n": [1, 2, 3]\n}');
  assert.equal(prettyJson('{"key":"AIR"}'), '{"key": "AIR"}');
  assert.equal(prettyJson('7'), '7');
  assert.equal(prettyJson('{"a":'), '{"a":');
  assert.equal(prettyJson('plain'), 'plain');
  const deep = '['.repeat(5000) + ']'.repeat(5000);
  assert.ok(prettyJson(deep).length < 500_000);
  for (const text of ['[1,[2,{"a":null}],"",true]', '{"é":"\\u0000\\n"}']) assert.deepEqual(JSON.parse(prettyJson(text)), JSON.parse(text));
});

test('how far the prompt is, out of comments', () => {
  assert.deepEqual(readProgress('prefill 512/4096'), { done: 512, total: 4096 });
  assert.deepEqual(readProgress('prefill 512/4096 left_s=12.5'), { done: 512, total: 4096, left: 12.5 });
  assert.deepEqual(readProgress('prefill 512/4096 left_s=3 more=1'), { done: 512, total: 4096, left: 3 });
  assert.deepEqual(readProgress('prefill 9/4'), { done: 4, total: 4 });
  for (const other of ['keep-alive', 'prefill 0/0', 'prefill x/4', 'prefill -1/4', 'prefill 1/4x', '']) assert.equal(readProgress(other), null);
});

test('when to try again', () => {
  assert.equal(retrySeconds('5'), 5);
  assert.equal(retrySeconds(null), null);
  assert.equal(retrySeconds('soon'), null);
  assert.equal(retrySeconds('Sun, 22 Nov 2026 12:00:10 GMT', Date.parse('2026-11-22T12:00:00Z')), 10);
  assert.equal(retrySeconds('999999'), 3600);
});

async function stream(status, text, headers = {}) {
  const real = globalThis.fetch;
  globalThis.fetch = async () => {
    if (status === 0) throw new TypeError('failed');
    return new Response(text, { status, headers });
  };
  const chunks = [];
  try {
    await streamChat({ body: {}, key: '', signal: undefined, onChunk: (chunk) => chunks.push(chunk) });
    return { chunks };
  } catch (error) {
    assert.ok(error instanceof ServerError, String(error));
    return { chunks, kind: error.kind, seconds: error.seconds, message: error.message };
  } finally {
    globalThis.fetch = real;
  }
}

test('each way a stream can fail has its name', async () => {
  const error = JSON.stringify({ error: { message: 'why' } });
  assert.deepEqual(await stream(200, 'data: {"a":1}\n\ndata: [DONE]\n\n'), { chunks: [{ a: 1 }] });
  assert.equal((await stream(0, '')).kind, 'network');
  assert.deepEqual(await stream(429, error, { 'Retry-After': '3' }), { chunks: [], kind: 'limited', seconds: 3, message: 'why' });
  assert.equal((await stream(401, error)).kind, 'unauthorized');
  assert.equal((await stream(503, '<html>')).message, 'The server answered 503.');
  assert.equal((await stream(400, error)).kind, 'refused');
  assert.equal((await stream(500, 'null')).kind, 'broken');
  assert.deepEqual((await stream(200, 'data: {"a":1}\n\n')).kind, 'cut');
  assert.equal((await stream(200, `data: ${error}\n\n`)).message, 'why');
  for (const bad of ['12', 'null', '{', '"x"']) assert.equal((await stream(200, `data: ${bad}\n\n`)).kind, 'broken', bad);
});

// SPDX-License-Identifier: Apache-2.0
// usage: node walle.mjs URL WALLE_DIR MAX_TOKENS EVERY; exit 1 when an answer does not satisfy its schema.
import { readdirSync, readFileSync } from 'node:fs';
import Ajv2020 from 'ajv/dist/2020.js';

const [url, folder, maxTokens, every] = process.argv.slice(2);
const sectionBegin = 163595;  // <|tool_calls_section_begin|>

// The schema becomes the member "value" of an object: references move with it.
function wrapped(schema) {
  const move = (part) => {
    if (Array.isArray(part)) return part.map(move);
    if (part === null || typeof part !== 'object') return part;
    return Object.fromEntries(Object.entries(part).map(([key, value]) => {
      if (key === '$ref' && value === '#') return [key, '#/properties/value'];
      return [key, move(value)];
    }));
  };
  const { $defs, $id, ...rest } = move(schema);
  return { type: 'object', properties: { value: rest }, required: ['value'], additionalProperties: false, ...($defs ? { $defs } : {}) };
}

const schemas = readdirSync(folder, { withFileTypes: true }).filter((e) => e.isDirectory()).map((e) => e.name).sort()
  .flatMap((suite) => readFileSync(`${folder}/${suite}/valid.jsonl`, 'utf8').split('\n').filter(Boolean)
    .map((line, i) => ({ name: `${suite}/${i}`, schema: wrapped(JSON.parse(line)) })));

function body({ schema }, kind, stream) {
  const request = { model: 'random', stream, max_tokens: Number(maxTokens), temperature: 1.0, seed: 11, messages: [{ role: 'user', content: 'Call it.' }] };
  if (kind === 'response_format') {
    return { ...request, response_format: { type: 'json_schema', json_schema: { name: 'answer', schema, strict: true } } };
  }
  request.tools = [{ type: 'function', function: { name: 'submit', parameters: schema, strict: true } }];
  if (kind === 'auto') request.logit_bias = { [sectionBegin]: 100 };
  else request.tool_choice = kind === 'required' ? 'required' : { type: 'function', function: { name: 'submit' } };
  return request;
}

// What the answer holds: content, calls, finish_reason.
async function ask(request) {
  const response = await fetch(`${url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(request) });
  if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
  if (!request.stream) {
    const { message, finish_reason: finish } = (await response.json()).choices[0];
    return { finish, content: message.content, calls: (message.tool_calls ?? []).map((call) => call.function) };
  }
  const answer = { content: '', calls: [] };
  for (const line of (await response.text()).split('\n')) {
    if (!line.startsWith('data: ') || line === 'data: [DONE]') continue;
    const choice = JSON.parse(line.slice(6)).choices?.[0];
    if (choice?.finish_reason) answer.finish = choice.finish_reason;
    answer.content += choice?.delta?.content ?? '';
    for (const call of choice?.delta?.tool_calls ?? []) {
      answer.calls[call.index] ??= { name: call.function.name, arguments: '' };
      answer.calls[call.index].arguments += call.function.arguments ?? '';
    }
  }
  return answer;
}

async function check(test, kind, stream) {
  const validate = new Ajv2020({ strict: false, allErrors: true }).compile(test.schema);
  let answer;
  try {
    answer = await ask(body(test, kind, stream));
    const texts = kind === 'response_format' ? [answer.content] : answer.calls.map((call) => call.arguments);
    if (answer.finish !== (kind === 'response_format' ? 'stop' : 'tool_calls')) throw new Error(`finish_reason ${answer.finish}`);
    if (texts.length === 0) throw new Error('no call');
    for (const call of answer.calls) if (call.name !== 'submit') throw new Error(`tool ${call.name}`);
    for (const text of texts) if (!validate(JSON.parse(text))) throw new Error(JSON.stringify(validate.errors));
    return true;
  } catch (error) {
    console.log(`FAIL ${test.name} ${kind} ${stream ? 'streamed' : 'whole'}: ${error.message}\n  ${JSON.stringify(test.schema)}\n  ${JSON.stringify(answer)}`.slice(0, 2000));
    return false;
  }
}

const cases = schemas.filter((_, i) => i % Number(every) === 0)
  .flatMap((test) => ['auto', 'required', 'named', 'response_format'].flatMap((kind) => [true, false].map((stream) => [test, kind, stream])));
const results = {};
async function work() {
  for (let next = cases.shift(); next; next = cases.shift()) {
    const [test, kind, stream] = next;
    const key = `${kind} ${stream ? 'streamed' : 'whole'}`;
    results[key] ??= { good: 0, all: 0 };
    const good = await check(test, kind, stream);  // first: others count meanwhile
    results[key].good += good;
    results[key].all += 1;
  }
}
await Promise.all(Array.from({ length: 16 }, work));
for (const [key, { good, all }] of Object.entries(results)) console.log(`${key}: ${good} of ${all} satisfy their schema`);
process.exit(Object.values(results).every(({ good, all }) => good === all) ? 0 : 1);

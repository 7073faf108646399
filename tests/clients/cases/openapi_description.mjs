// SPDX-License-Identifier: Apache-2.0
// Live answers held against OpenAI's published description by an independent validator (ajv, JSON Schema 2020-12). The
// description is a file that the caller names: openapi.json of github.com/openai/openai-openapi (3 MB, not kept here).
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { citySchema, tools } from './expect.mjs';

// OpenAPI 3.0's nullable, which the file still holds here and there, in JSON Schema's words.
function withoutNullable(key, value) {
  if (value?.nullable !== true) return value;
  const { nullable, ...rest } = value;
  return { anyOf: [rest, { type: 'null' }] };
}

// `what` without each member in turn that the schema says must be there.
function* damaged(schema, what) {
  for (const name of schema.required ?? []) {
    const { [name]: _, ...rest } = what;
    yield [name, rest];
  }
}

export default function cases(server, { openapi, skip, note }) {
  const file = openapi ?? process.env.OPENAI_OPENAPI;
  if (!file) {
    skip('no description given: --openapi FILE or OPENAI_OPENAPI');
    return {};
  }
  const description = JSON.parse(readFileSync(file, 'utf8'), withoutNullable);
  // strict off: the description holds keywords of OpenAPI (discriminator, x-...) that are no part of JSON Schema.
  const ajv = new Ajv2020({ strict: false, allErrors: true, logger: false });
  addFormats(ajv);
  ajv.addSchema({ $id: 'openai', components: description.components });
  const validators = new Map();
  let checked = 0, refused = 0;
  function check(name, value) {
    const known = validators.has(name);
    if (!known) validators.set(name, ajv.compile({ $ref: `openai#/components/schemas/${name}` }));
    const validate = validators.get(name);
    if (validate(value)) {
      checked += 1;
      if (known) return;
      // The validator does look: what misses a member is refused.
      for (const [member, rest] of damaged(description.components.schemas[name], value)) {
        assert.ok(!validate(rest), `${name} without ${member} is taken`);
        refused += 1;
      }
      return;
    }
    const errors = validate.errors.slice(0, 12).map((error) => `${error.instancePath || '/'} ${error.message} ${JSON.stringify(error.params)}`);
    assert.fail(`${name}:\n  ${errors.join('\n  ')}\nin ${JSON.stringify(value).slice(0, 1500)}`);
  }
  // Which schema an event of a response's stream must satisfy, by its type.
  const eventSchemas = new Map();
  for (const { $ref } of description.components.schemas.ResponseStreamEvent?.anyOf ?? []) {
    const name = $ref.split('/').at(-1);
    for (const type of description.components.schemas[name].properties?.type?.enum ?? []) eventSchemas.set(type, name);
  }

  const { model, url } = server;
  async function ask(path, body) {
    const answer = await fetch(`${url}/v1/${path}`, body && {
      method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ model, ...body }) });
    return { status: answer.status, text: await answer.text() };
  }
  async function json(path, body, status = 200) {
    const answer = await ask(path, body);
    assert.equal(answer.status, status, answer.text);
    return JSON.parse(answer.text);
  }
  const events = ({ status, text }) => {
    assert.equal(status, 200, text);
    return text.split('\n').filter((line) => line.startsWith('data: ') && line !== 'data: [DONE]').map((line) => JSON.parse(line.slice(6)));
  };
  const user = (content) => [{ role: 'user', content }];
  const functions = tools.map((tool) => ({ type: 'function', function: tool }));
  const chatBodies = {
    text: { messages: user('HELLO') },
    'tool calls': { messages: user('USE-TOOLS'), tools: functions },
    logprobs: { messages: user('HELLO'), logprobs: true, top_logprobs: 3 },
    'cut by length': { messages: user('FOR-EVER'), max_tokens: 20 },
    'two choices': { messages: user('HELLO'), n: 2 },
    thinking: { messages: user('THINK-HARD'), reasoning_effort: 'low' },
    'forced tool': { messages: user('FORCED-CALL'), tools: functions, tool_choice: 'required' },
    'tool results': { messages: [...user('USE-TOOLS'),
      { role: 'assistant', content: null, tool_calls: ['Paris', 'Rome'].map((city, i) => (
        { id: `c${i}`, type: 'function', function: { name: 'get_weather', arguments: JSON.stringify({ city }) } })) },
      { role: 'tool', tool_call_id: 'c0', content: 'sun' }, { role: 'tool', tool_call_id: 'c1', content: 'rain' }], tools: functions },
    json: { messages: user('AS-JSON'), response_format: { type: 'json_schema', json_schema: { name: 'c', schema: citySchema, strict: true } } },
  };
  const cases = {
    async models() {
      check('ListModelsResponse', await json('models'));
      check('Model', await json(`models/${model}`));
    },
    async completion() {
      // Not with echo: the first token's log-probability is null there, as OpenAI's own server has it, and the file says number.
      for (const more of [{}, { logprobs: 2 }, { n: 2 }])
        check('CreateCompletionResponse', await json('completions', { prompt: 'Question: FORTY-TWO? Answer:', max_tokens: 9, ...more }));
      // Of a stream the last chunk: before it finish_reason is null, as OpenAI's own server has it, and the file says string.
      const chunks = events(await ask('completions', { prompt: 'Question: FORTY-TWO? Answer:', max_tokens: 9, logprobs: 1, stream: true }));
      assert.ok(chunks.length > 1);
      check('CreateCompletionResponse', chunks.at(-1));
    },
    async errors() {
      check('ErrorResponse', await json('chat/completions', { messages: [] }, 400));
      check('ErrorResponse', await json('chat/completions', { model: 'none', messages: user('x') }, 404));
      check('ErrorResponse', await json('nothing', {}, 404));
      check('ErrorResponse', await json('completions', { prompt: 'x', max_tokens: -1 }, 400));
      const strict = { name: 'f', strict: true, parameters: { type: 'object', properties: { a: { pattern: '(' } } } };
      check('ErrorResponse', await json('chat/completions', { messages: user('x'), tools: [{ type: 'function', function: strict }] }, 400));
    },
  };
  for (const [name, body] of Object.entries(chatBodies)) {
    cases[`chat completion: ${name}`] = async () => check('CreateChatCompletionResponse', await json('chat/completions', body));
    cases[`chat completion chunks: ${name}`] = async () => {
      const chunks = events(await ask('chat/completions', { ...body, stream: true, stream_options: { include_usage: true } }));
      assert.ok(chunks.length > 2);
      for (const chunk of chunks) check('CreateChatCompletionStreamResponse', chunk);
    };
  }
  const last = { async 'in all'() {
    note(`version ${description.info.version}: ${checked} answers and events hold against ${validators.size} schemas; ${refused} damaged ones are refused`);
    assert.ok(checked > 0 && refused > 0);
  } };
  if (!server.serves('/v1/responses')) return { ...cases, ...last };
  const responseBodies = {
    text: { input: 'HELLO' },
    'tool calls': { input: 'USE-TOOLS', tools: tools.map((tool) => ({ type: 'function', strict: true, ...tool })) },
    json: { input: 'AS-JSON', text: { format: { type: 'json_schema', name: 'city', schema: citySchema, strict: true } } },
    'cut by length': { input: 'FOR-EVER', max_output_tokens: 30 },
    logprobs: { input: 'HELLO', include: ['message.output_text.logprobs', 'reasoning.encrypted_content'], top_logprobs: 2 },
  };
  for (const [name, body] of Object.entries(responseBodies)) {
    cases[`response: ${name}`] = async () => check('Response', await json('responses', body));
    cases[`response events: ${name}`] = async () => {
      const list = events(await ask('responses', { ...body, stream: true }));
      assert.ok(list.length > 4);
      for (const event of list) {
        assert.ok(eventSchemas.has(event.type), `no schema for ${event.type}`);
        check(eventSchemas.get(event.type), event);
      }
    };
  }
  cases['stored responses'] = async () => {
    const { id } = await json('responses', { input: user('HELLO'), instructions: 'Be kind.', metadata: { a: 'b' } });
    check('Response', await json(`responses/${id}`));
    check('ResponseItemList', await json(`responses/${id}/input_items`));
    check('TokenCountsResource', await json('responses/input_tokens', { input: 'HELLO' }));
    check('Response', await json('responses', { input: 'WHAT-WAS-IT', previous_response_id: id }));
  };
  cases['errors of responses'] = async () => {
    check('ErrorResponse', await json('responses', { input: [] }, 400));
    check('ErrorResponse', await json('responses/resp_0', undefined, 404));
    check('ErrorResponse', await json('responses', { input: 'x', previous_response_id: 'resp_0' }, 404));
  };
  return { ...cases, ...last };
}

// SPDX-License-Identifier: Apache-2.0
// What scripts/sdk.json makes the model say, and tools that cases offer.
import { until } from '../../e2e/checks.mjs';

export { until };

export const hello = 'Hello, 世界! 🎉 Here is "quoted" text,\na second line & <tags>.';
export const helloThought = 'A greeting.';
export const hardThought = 'First I count: one, two, three. Then I doubt. Then I am sure.';
export const jsonAnswer = { city: 'Paris', population: 2102650, tags: ['capital', 'river "Seine"'] };
export const citySchema = {
  type: 'object',
  properties: {
    city: { type: 'string' },
    population: { type: 'integer' },
    tags: { type: 'array', items: { type: 'string' } },
  },
  required: ['city', 'population', 'tags'],
  additionalProperties: false,
};
export const finalToolText = 'Sunny in both cities at 12:34 after 3 calls.';
// The calls that a tools loop must run, in order.
export const expectedCalls = [
  ['get_weather', { city: 'Paris' }],
  ['get_weather', { city: 'Zürich' }],
  ['get_time', { zone: 'Europe/Paris', format: '24h' }],
];
export const weatherSchema = {
  type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false,
};
export const timeSchema = {
  type: 'object',
  properties: { zone: { type: 'string' }, format: { type: 'string', enum: ['12h', '24h'] } },
  required: ['zone', 'format'],
  additionalProperties: false,
};
export const tools = [
  { name: 'get_weather', description: 'The weather of a city', parameters: weatherSchema },
  { name: 'get_time', description: 'The time of a zone', parameters: timeSchema },
];

// Runs tools as a client would and remembers what was called.
export class ToolLog {
  calls = [];
  run(name, args) {
    this.calls.push([name, args]);
    return name === 'get_time' ? '12:34' : `sunny in ${args.city}`;
  }
}

// Nothing runs or waits on the server.
export async function untilIdle(server) {
  await until(async () => {
    const m = await server.metrics();
    return m.baltoro_sequences_running === 0 && m.baltoro_sequences_waiting === 0;
  }, 'the server is idle');
}

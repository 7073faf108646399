// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SseParser, readEvents } from '../../../web/sse.js';
import { cpuMs } from './cpu_time.mjs';

const STREAM = '\ufeffdata: one\n\n: comment\r\ndata: two\r\ndata:lines\r\n\r\nevent: error\rdata: three\r\rid: 7\ndata\n\ndata:  x: y\n\nignored: z\n\n';
const EVENTS = [
  { event: 'message', data: 'one' },
  { event: 'comment', data: 'comment' },
  { event: 'message', data: 'two\nlines' },
  { event: 'error', data: 'three' },
  { event: 'message', data: '' },
  { event: 'message', data: ' x: y' },
];

test('all line ends, comments, several data lines, byte order mark', () => {
  assert.deepEqual(new SseParser().push(STREAM), EVENTS);
});

test('pieces of any size', () => {
  for (let size = 1; size < 12; size += 1) {
    const parser = new SseParser();
    const events = [];
    for (let i = 0; i < STREAM.length; i += size) events.push(...parser.push(STREAM.slice(i, i + size)));
    assert.deepEqual(events, EVENTS, `size ${size}`);
  }
});

test('a huge event is refused, a long one is not slow', () => {
  assert.throws(() => new SseParser(1000).push('data: ' + 'x'.repeat(1001)), RangeError);
  const many = new SseParser(1000);
  assert.throws(() => {
    for (let i = 0; i < 100; i += 1) many.push('data: ' + 'x'.repeat(50) + '\n');
  }, RangeError);
  const parser = new SseParser();
  const ms = cpuMs(() => {
    parser.push('data: ');
    for (let i = 0; i < 20_000; i += 1) parser.push('x'.repeat(50));
    assert.equal(parser.push('\n\n')[0].data.length, 1_000_000);
  });
  assert.ok(ms < 2000, `${ms} ms`);
});

test('bytes: characters cut in two, invalid ones, an event without end', async () => {
  const bytes = new TextEncoder().encode('data: größe 😀\n\ndata: cut');
  let at = 0;
  let cancelled = false;
  const body = new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close();
      controller.enqueue(bytes.slice(at, at + 1));
      at += 1;
    },
    cancel() {
      cancelled = true;
    },
  });
  const got = [];
  for await (const event of readEvents(body)) got.push(event.data);
  assert.deepEqual(got, ['größe 😀']);
  assert.equal(cancelled, false);
});

test('leaving the loop cancels the body', async () => {
  let cancelled = false;
  const body = new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode('data: 1\n\ndata: 2\n\n'));
    },
    cancel() {
      cancelled = true;
    },
  });
  for await (const event of readEvents(body)) {
    assert.equal(event.data, '1');
    break;
  }
  assert.equal(cancelled, true);
});

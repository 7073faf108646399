// SPDX-License-Identifier: Apache-2.0
// Server-sent events out of text that arrives in pieces of any size. Each character is looked at once.

export class SseParser {
  #rest = '';
  #skipLineFeed = false;
  #atStart = true;
  #data = [];
  #chars = 0;
  #event = '';

  constructor(maxEventChars = 32 * 1024 * 1024) {
    this.maxEventChars = maxEventChars;
  }

  // The events that `text` completes: [{event, data}]; a comment is one of event "comment". Throws when one grows past
  // the limit.
  push(text) {
    if (this.#atStart && text.length > 0) {
      this.#atStart = false;
      if (text.charCodeAt(0) === 0xfeff) text = text.slice(1);
    }
    if (this.#skipLineFeed && text.length > 0) {
      this.#skipLineFeed = false;
      if (text[0] === '\n') text = text.slice(1);
    }
    const events = [];
    const lineEnd = /\r\n|\n|\r/g;
    let from = 0;
    for (let match = lineEnd.exec(text); match !== null; match = lineEnd.exec(text)) {
      this.#line(this.#rest + text.slice(from, match.index), events);
      this.#rest = '';
      from = lineEnd.lastIndex;
      this.#skipLineFeed = match[0] === '\r' && from === text.length;
    }
    this.#rest += text.slice(from);
    this.#bound(this.#rest.length);
    return events;
  }

  #bound(more) {
    if (this.#chars + more > this.maxEventChars) throw new RangeError('an event of the stream is too large');
  }

  #line(line, events) {
    if (line === '') {
      if (this.#data.length > 0) events.push({ event: this.#event || 'message', data: this.#data.join('\n') });
      this.#data = [];
      this.#chars = 0;
      this.#event = '';
      return;
    }
    const colon = line.indexOf(':');
    if (colon === 0) {
      events.push({ event: 'comment', data: line.slice(1).trim() });
      return;
    }
    const field = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? '' : line.slice(colon + 1);
    if (value[0] === ' ') value = value.slice(1);
    if (field === 'data') {
      this.#bound(value.length);
      this.#chars += value.length;
      this.#data.push(value);
    } else if (field === 'event') {
      this.#event = value;
    }
  }
}

// The events of a response body (a ReadableStream of bytes), in order. An event cut off by the end is dropped, as the
// standard asks. Leaving the loop cancels the body.
export async function* readEvents(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parser = new SseParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield* parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

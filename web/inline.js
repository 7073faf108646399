// SPDX-License-Identifier: Apache-2.0
// What stands inside a paragraph: text -> a list of strings and {type, ...} nodes. Data only, no markup.
// code {text}, strong | em | del {children}, link {href, children}, break.
// Time grows with the length: delimiters and brackets are kept on stacks, code spans found through an index.

const MAX_NESTING = 16;
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const ENTITIES = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0' };

// The address if it may be a link, else null.
export function safeHref(text) {
  let url;
  try {
    url = new URL(text);
  } catch {
    return null;
  }
  return ['http:', 'https:', 'mailto:'].includes(url.protocol) ? url.href : null;
}

// Nodes wait in a doubly linked list, so that a range can become the children of a new one.
class Chain {
  constructor() {
    this.head = { next: null, prev: null };
    this.tail = this.head;
  }
  push(node) {
    node.prev = this.tail;
    node.next = null;
    this.tail.next = node;
    this.tail = node;
    return node;
  }
  // What lies between `from` and `to` (both stay; to null: the end) becomes the children of `parent`, in their place.
  wrap(from, to, parent) {
    const first = from.next === to ? null : from.next;
    const last = to === null ? this.tail : to.prev;
    if (first !== null) {
      first.prev = null;
      last.next = null;
    }
    parent.first = first;
    parent.prev = from;
    parent.next = to;
    from.next = parent;
    if (to === null) this.tail = parent;
    else to.prev = parent;
  }
  remove(node) {
    node.prev.next = node.next;
    if (node.next === null) this.tail = node.prev;
    else node.next.prev = node.prev;
  }
}

class Scanner {
  constructor(text) {
    this.text = text;
    this.at = 0;
    this.chain = new Chain();
    this.plain = '';
    this.delimiters = []; // of the current nesting of brackets
    this.brackets = [];
    this.ticks = new Map(); // length of a run of backticks -> positions
    for (const run of text.matchAll(/`+/g)) {
      if (!this.ticks.has(run[0].length)) this.ticks.set(run[0].length, []);
      this.ticks.get(run[0].length).push(run.index);
    }
    for (const places of this.ticks.values()) places.reverse();
  }

  flush() {
    if (this.plain !== '') this.chain.push({ type: 'text', text: this.plain });
    this.plain = '';
  }
  push(node) {
    this.flush();
    return this.chain.push(node);
  }
  take(pattern) {
    pattern.lastIndex = this.at;
    const match = pattern.exec(this.text);
    if (match !== null) this.at += match[0].length;
    return match;
  }

  run() {
    const special = /[\\`*_~[\]!<&\nhH]/g;
    while (this.at < this.text.length) {
      special.lastIndex = this.at;
      const match = special.exec(this.text);
      const end = match === null ? this.text.length : match.index;
      this.plain += this.text.slice(this.at, end);
      this.at = end;
      if (match !== null) this.special(match[0]);
    }
    this.flush();
    emphasize(this.chain, this.delimiters, 0);
    return collect(this.chain.head.next, 0);
  }

  special(c) {
    if (c === '\\') return this.escape();
    if (c === '`') return this.code();
    if (c === '*' || c === '_' || c === '~') return this.delimiter(c);
    if (c === '[' || c === '!') return this.openBracket(c);
    if (c === ']') return this.closeBracket();
    if (c === '<') return this.angle();
    if (c === '&') return this.entity();
    if (c === '\n') return this.newline();
    return this.bareLink();
  }

  escape() {
    const next = this.text[this.at + 1];
    this.at += 1;
    if (next === undefined || !PUNCTUATION.test(next)) {
      this.plain += '\\';
    } else {
      this.plain += next;
      this.at += 1;
    }
  }

  newline() {
    this.plain = this.plain.replace(/ {1,100}$/, '');
    this.push({ type: 'break' });
    this.at += 1;
  }

  code() {
    const ticks = this.take(/`+/y)[0];
    const places = this.ticks.get(ticks.length);
    while (places.length > 0 && places.at(-1) < this.at) places.pop();
    if (places.length === 0) {
      this.plain += ticks;
      return;
    }
    const end = places.pop();
    let text = this.text.slice(this.at, end).replaceAll('\n', ' ');
    if (text.length > 2 && text[0] === ' ' && text.at(-1) === ' ' && text.trim() !== '') text = text.slice(1, -1);
    this.push({ type: 'code', text });
    this.at = end + ticks.length;
  }

  delimiter(c) {
    const before = this.at === 0 ? ' ' : this.text[this.at - 1];
    const start = this.at;
    while (this.text[this.at] === c) this.at += 1;
    const count = this.at - start;
    const after = this.text[this.at] ?? ' ';
    const space = (x) => /\s/.test(x);
    const mark = (x) => PUNCTUATION.test(x);
    const left = !space(after) && (!mark(after) || space(before) || mark(before));
    const right = !space(before) && (!mark(before) || space(after) || mark(after));
    const word = c === '_';
    const open = left && (!word || !right || mark(before));
    const close = right && (!word || !left || mark(after));
    const node = this.push({ type: 'text', text: this.text.slice(start, this.at) });
    if (c === '~' && count !== 2) return;
    if (open || close) this.delimiters.push({ c, count, size: count, open, close, node });
  }

  openBracket(c) {
    if (c === '!' && this.text[this.at + 1] !== '[') {
      this.plain += '!';
      this.at += 1;
      return;
    }
    const mark = c === '!' ? '![' : '[';
    this.at += mark.length;
    const node = this.push({ type: 'text', text: mark });
    this.brackets.push({ node, delimiters: this.delimiters.length });
  }

  closeBracket() {
    this.at += 1;
    const opener = this.brackets.pop();
    const target = opener === undefined ? null : this.destination();
    const href = target === null ? null : safeHref(target.href);
    if (href === null) {
      this.plain += ']';
      return;
    }
    this.flush();
    this.at = target.end;
    emphasize(this.chain, this.delimiters, opener.delimiters);
    this.chain.wrap(opener.node, null, { type: 'link', href });
    this.chain.remove(opener.node);
    this.brackets.length = 0; // a link holds no link
  }

  // "(address "title")" from here on, within 2,000 characters: {href, end}, or null.
  destination() {
    if (this.text[this.at] !== '(') return null;
    let depth = 0;
    let i = this.at + 1;
    for (const limit = i + 2000; i < limit; i += 1) {
      const c = this.text[i];
      if (c === undefined || c === '\n' || c === '<' || depth > 3) return null;
      if (c === '(') depth += 1;
      if (c === ' ' || c === '"') break;
      if (c === ')' && depth-- === 0) break;
    }
    const href = this.text.slice(this.at + 1, i);
    const rest = /(?: {1,4}"[^"\n]{0,500}")?\)/y;
    rest.lastIndex = i;
    return rest.test(this.text) ? { href, end: rest.lastIndex } : null;
  }

  angle() {
    const match = this.take(/<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/iy);
    if (match !== null) return this.address(match[1]);
    this.plain += '<';
    this.at += 1;
  }

  bareLink() {
    const before = this.at === 0 ? ' ' : this.text[this.at - 1];
    const match = /\w/.test(before) ? null : this.take(/https?:\/\/[^\s<>"`*|\\^{}]{1,2000}/iy);
    if (match === null) {
      this.plain += this.text[this.at];
      this.at += 1;
      return;
    }
    let url = match[0];
    while (/[.,;:!?'_~\]]$/.test(url) || (url.endsWith(')') && !url.includes('('))) url = url.slice(0, -1);
    this.at -= match[0].length - url.length;
    this.address(url);
  }

  address(url) {
    const href = safeHref(url);
    if (href === null) {
      this.plain += url;
      return;
    }
    this.push({ type: 'link', href, first: { type: 'text', text: url, next: null } });
  }

  entity() {
    const match = this.take(/&(amp|lt|gt|quot|apos|nbsp|#39);/y);
    if (match === null) this.at += 1;
    this.plain += match === null ? '&' : match[1] === '#39' ? "'" : ENTITIES[match[1]];
  }
}

// Pairs the delimiters from `bottom` on, as CommonMark's algorithm does: for each closer the nearest fitting opener;
// where none was found before, nobody looks again. The delimiters are used up.
function emphasize(chain, delimiters, bottom) {
  const openers = delimiters.splice(bottom);
  const stack = [];
  const floor = new Map();
  for (const closer of openers) {
    const key = `${closer.c}${closer.open}${closer.size % 3}`;
    while (closer.close && closer.count > 0) {
      let at = stack.length - 1;
      const low = Math.min(floor.get(key) ?? 0, stack.length);
      while (at >= low && !fits(stack[at], closer)) at -= 1;
      if (at < low) {
        floor.set(key, stack.length);
        break;
      }
      const opener = stack[at];
      stack.length = at + 1;
      for (const [k, height] of floor) if (height > stack.length) floor.set(k, stack.length);
      pair(chain, opener, closer);
      if (opener.count === 0) stack.pop();
    }
    if (closer.open && closer.count > 0) stack.push(closer);
  }
}

function fits(opener, closer) {
  if (opener.c !== closer.c || !opener.open) return false;
  const odd = (opener.close || closer.open) && (opener.size + closer.size) % 3 === 0;
  return closer.c === '~' || !odd || (opener.size % 3 === 0 && closer.size % 3 === 0);
}

function pair(chain, opener, closer) {
  const used = opener.count >= 2 && closer.count >= 2 ? 2 : 1;
  const type = closer.c === '~' ? 'del' : used === 2 ? 'strong' : 'em';
  chain.wrap(opener.node, closer.node, { type });
  for (const end of [opener, closer]) {
    end.count -= used;
    end.node.text = end.node.text.slice(used);
    if (end.count === 0) chain.remove(end.node);
  }
}

// The chain as arrays, neighbouring texts joined; what is nested too deeply gives its text only.
function collect(first, depth, out = []) {
  const add = (item) => {
    if (typeof item === 'string' && typeof out.at(-1) === 'string') out.push(out.pop() + item);
    else if (item !== '') out.push(item);
  };
  for (let node = first; node != null; node = node.next) {
    if (node.type === 'text') add(node.text);
    else if (node.type === 'code') add({ type: 'code', text: node.text });
    else if (node.type === 'break') add({ type: 'break' });
    else if (depth >= MAX_NESTING) collect(node.first, depth + 1, out);
    else add(nested(node, collect(node.first, depth + 1)));
  }
  return out;
}

function nested(node, children) {
  return node.type === 'link' ? { type: 'link', href: node.href, children } : { type: node.type, children };
}

export function parseInline(text) {
  return new Scanner(text).run();
}

// SPDX-License-Identifier: Apache-2.0
// Markdown as models write it, in pieces as they write it. Text goes in, steps for a builder come out; a step never
// changes once it is out, so a long answer costs each character once. Data only, no markup.
//
// A step: {path, type, ...}. `path` are the containers it stands in, outermost first: {id, type: quote | list | item,
// ordered?, start?}; what has the same id is the same. Types:
//   paragraph {id, text}   heading {id, level, text}   rule {}   open {} (an item that is still empty)
//   code {id, language, text}: text is added to that block     row {id, header, align, cells}: a row of that table
// Paragraphs and code come in several steps when long. Not known: indented code, underlined headings, raw HTML (it is
// text), reference links.

const MAX_CONTAINERS = 8;
const MAX_INLINE = 4000; // characters whose emphasis and links are looked at together
const MAX_COLUMNS = 64;

const FENCE = /^(`{3,}|~{3,})[ \t]*([^`]*)$/;
const RULE = /^([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const HEADING = /^(#{1,6})(?:[ \t]+(.*))?$/;
const MARKER = /^(?:[-*+]|(\d{1,9})[.)])(?=[ \t]|$)/;

const indentOf = (line) => /^ */.exec(line)[0].length;
const withSpaces = (line) => line.replace(/^[ \t]+/, (white) => white.replaceAll('\t', '    '));

// The cells of a table's row, or null where there is no bar.
function cellsOf(line) {
  let text = line.trim();
  if (!text.includes('|')) return null;
  if (text.startsWith('|')) text = text.slice(1);
  if (text.endsWith('|') && !text.endsWith('\\|')) text = text.slice(0, -1);
  return text.split(/(?<!\\)\|/, MAX_COLUMNS).map((cell) => cell.trim().replaceAll('\\|', '|'));
}

// The alignments if the line may stand under a table's head, else null.
function alignments(line) {
  const cells = cellsOf(line);
  if (cells === null || !cells.every((cell) => /^:?-+:?$/.test(cell))) return null;
  return cells.map((cell) => (cell.endsWith(':') ? (cell.startsWith(':') ? 'center' : 'right') : 'left'));
}

export class BlockParser {
  #stack = []; // open quotes and items; an item knows its list
  #leaf = null; // the open paragraph, code block or table
  #partial = ''; // the last line so far
  #inLine = false; // the beginning of the last line was taken already
  #nextId = 1;
  #steps = [];

  // Takes more text, returns the steps that are certain now.
  write(text) {
    let from = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', from)) {
      this.#endLine(this.#partial + text.slice(from, end));
      this.#partial = '';
      from = end + 1;
    }
    this.#partial += text.slice(from);
    while (this.#partial.length > MAX_INLINE) this.#cutLine();
    return this.#take();
  }

  // The steps that would follow if the text ended here. Changes nothing.
  preview() {
    const copy = new BlockParser();
    copy.#stack = this.#stack.slice();
    copy.#leaf = this.#leaf === null ? null : { ...this.#leaf };
    copy.#partial = this.#partial;
    copy.#inLine = this.#inLine;
    copy.#nextId = this.#nextId;
    return copy.end();
  }

  // The text ends: the last steps.
  end() {
    if (this.#partial !== '') this.#endLine(this.#partial);
    this.#partial = '';
    this.#close();
    return this.#take();
  }

  #take() {
    return this.#steps.splice(0);
  }

  #emit(type, fields = {}, depth = this.#stack.length) {
    const path = [];
    for (const container of this.#stack.slice(0, depth)) {
      if (container.type === 'item') path.push(container.list);
      path.push(container);
    }
    this.#steps.push({ path, type, ...fields });
  }

  // ---- lines

  #endLine(line) {
    if (line.endsWith('\r')) line = line.slice(0, -1);
    if (this.#inLine) this.#more(line, true);
    else this.#line(line);
    this.#inLine = false;
  }

  // A very long line is taken before its end, at a space where there is one.
  #cutLine() {
    const space = this.#partial.lastIndexOf(' ', MAX_INLINE);
    let cut = space > MAX_INLINE / 2 ? space + 1 : MAX_INLINE;
    if (/[\ud800-\udbff]/.test(this.#partial[cut - 1])) cut -= 1;
    const head = this.#partial.slice(0, cut);
    if (this.#inLine) this.#more(head, false);
    else this.#line(head, false);
    this.#inLine = true;
    this.#partial = this.#partial.slice(cut);
  }

  // Text within a line whose beginning was taken.
  #more(text, ended) {
    if (this.#leaf?.type === 'code') return this.#code(ended ? text + '\n' : text);
    if (this.#leaf?.type !== 'paragraph') this.#open({ type: 'paragraph', text: '', fresh: true });
    this.#leaf.text += text;
    this.#shorten();
  }

  #line(line, ended = true) {
    let rest = withSpaces(line);
    let depth = 0;
    for (; depth < this.#stack.length; depth += 1) {
      const inner = this.#inside(this.#stack[depth], rest);
      if (inner === null) break;
      rest = inner;
    }
    const all = depth === this.#stack.length;
    if (this.#leaf?.type === 'code') {
      if (all) return this.#codeLine(rest, ended);
      this.#close();
    }
    this.#blocks(rest, depth, all);
  }

  // What the line holds for an open container, or null where it does not continue it.
  #inside(container, line) {
    if (container.type === 'quote') {
      const match = /^ {0,3}> ?/.exec(line);
      return match === null ? null : line.slice(match[0].length);
    }
    if (line.trim() === '') return line;
    const indent = indentOf(line);
    if (indent >= container.indent) return line.slice(container.indent);
    // Models indent inner lists by two, whatever the outer marker's width.
    if (indent >= container.marker + 2 && MARKER.test(line.trimStart())) return line.trimStart();
    return null;
  }

  #blocks(rest, depth, all) {
    const lazy = this.#leaf?.type === 'paragraph' && !all;
    for (;;) {
      const indent = Math.min(indentOf(rest), 3);
      const text = rest.trimStart();
      if (text === '') return this.#blank(depth);
      if (depth < MAX_CONTAINERS && text[0] === '>') {
        this.#shrink(depth);
        this.#stack.push({ id: this.#nextId++, type: 'quote' });
        depth += 1;
        all = true;
        rest = text.slice(text[1] === ' ' ? 2 : 1);
        continue;
      }
      if (RULE.test(text)) return this.#single(depth, 'rule', {});
      const heading = HEADING.exec(text);
      if (heading !== null) {
        const title = (heading[2] ?? '').replace(/(?:^|[ \t])#{1,100}[ \t]*$/, '').trim();
        return this.#single(depth, 'heading', { level: heading[1].length, text: title });
      }
      const fence = FENCE.exec(text);
      if (fence !== null) return this.#fence(depth, fence, indent);
      const marker = depth < MAX_CONTAINERS ? MARKER.exec(text) : null;
      if (marker === null || !this.#mayStart(marker, text, all)) break;
      rest = this.#item(depth, marker, text, indentOf(rest));
      depth += 1;
      all = true;
    }
    this.#text(rest.trimStart(), depth, lazy && !all);
  }

  // A number other than one, or nothing behind the marker, does not end a paragraph.
  #mayStart(marker, text, all) {
    if (!all || this.#leaf?.type !== 'paragraph') return true;
    return text.length > marker[0].length && (marker[1] === undefined || Number(marker[1]) === 1);
  }

  #blank(depth) {
    // A quote ends with the first line without its mark; items go on behind blank lines.
    const quote = this.#stack.findIndex((container, i) => i >= depth && container.type === 'quote');
    if (quote >= 0) this.#shrink(quote);
    else this.#close();
  }

  #single(depth, type, fields) {
    this.#shrink(depth);
    this.#emit(type, { id: this.#nextId++, ...fields });
  }

  #fence(depth, [, mark, info], indent) {
    this.#shrink(depth);
    const language = info.trim().split(/\s/)[0].slice(0, 40);
    this.#open({ type: 'code', mark, indent, language });
    this.#code('');
  }

  #item(depth, marker, text, indent) {
    const kind = marker[0].at(-1);
    const before = this.#stack[depth];
    const same = before?.type === 'item' && before.list.kind === kind;
    this.#shrink(depth);
    const start = marker[1] === undefined ? undefined : Number(marker[1]);
    const list = same
      ? before.list
      : { id: this.#nextId++, type: 'list', kind, ordered: marker[1] !== undefined, start };
    const rest = text.slice(marker[0].length);
    const spaces = Math.min(indentOf(withSpaces(rest)), 4);
    const width = rest.trim() === '' || spaces === 0 ? 1 : spaces;
    this.#stack.push({ id: this.#nextId++, type: 'item', list, marker: indent, indent: indent + marker[0].length + width });
    this.#emit('open');
    return withSpaces(rest).slice(width).replace(/^\[([ xX])\](?= )/, (_, x) => (x === ' ' ? '☐' : '☑'));
  }

  #text(text, depth, lazy) {
    if (lazy) depth = this.#stack.length;
    if (this.#leaf?.type === 'table' && depth === this.#stack.length) {
      const cells = cellsOf(text);
      if (cells !== null) return this.#row(cells, false);
    }
    if (this.#leaf?.type === 'paragraph' && depth === this.#stack.length) {
      if (this.#tableHead(text)) return;
      this.#leaf.text += this.#leaf.fresh ? text : '\n' + text;
    } else {
      this.#shrink(depth);
      this.#open({ type: 'paragraph', text, fresh: false });
    }
    this.#leaf.fresh = false;
    this.#shorten();
  }

  // ---- leaves

  #open(leaf) {
    this.#close();
    this.#leaf = { id: this.#nextId++, ...leaf };
  }

  #close() {
    if (this.#leaf?.type === 'paragraph' && this.#leaf.text !== '') {
      this.#emit('paragraph', { id: this.#leaf.id, text: this.#leaf.text });
    }
    this.#leaf = null;
  }

  #shrink(depth) {
    this.#close();
    this.#stack.length = depth;
  }

  // Lets go of the beginning of a long paragraph.
  #shorten() {
    while (this.#leaf.text.length > MAX_INLINE) {
      const text = this.#leaf.text;
      const cut = Math.max(text.lastIndexOf('\n', MAX_INLINE), text.lastIndexOf(' ', MAX_INLINE)) + 1 || MAX_INLINE;
      this.#emit('paragraph', { id: this.#leaf.id, text: text.slice(0, cut) });
      this.#leaf.text = text.slice(cut);
    }
  }

  #code(text) {
    this.#emit('code', { id: this.#leaf.id, language: this.#leaf.language, text });
  }

  #codeLine(line, ended) {
    const { mark, indent } = this.#leaf;
    const text = line.trim();
    if (text.length >= mark.length && text === mark[0].repeat(text.length)) {
      this.#leaf = null;
      return;
    }
    this.#code(line.slice(Math.min(indentOf(line), indent)) + (ended ? '\n' : ''));
  }

  // Is `line` the dashes under the paragraph's last line? Then that becomes a table's head.
  #tableHead(line) {
    const align = alignments(line);
    if (align === null) return false;
    const lines = this.#leaf.text.split('\n');
    const head = cellsOf(lines.at(-1));
    if (head === null || head.length !== align.length) return false;
    this.#leaf.text = lines.slice(0, -1).join('\n');
    this.#open({ type: 'table', align });
    this.#row(head, true);
    return true;
  }

  #row(cells, header) {
    const { id, align } = this.#leaf;
    this.#emit('row', { id, header, align, cells: align.map((_, i) => cells[i] ?? '') });
  }
}

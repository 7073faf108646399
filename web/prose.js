// SPDX-License-Identifier: Apache-2.0
// Puts an answer on the page while it grows. What is certain is added once and stays; only what the last unfinished
// block shows is taken back and made again.
import { copyButton, element } from './elements.js';
import { parseInline } from './inline.js';
import { BlockParser } from './markdown.js';

const LONG_CHARS = 100_000; // from here on, blocks out of sight are not laid out
const MAX_BOX_CHARS = 16_000; // of one paragraph: laying it out takes as long as all of it
const CHUNK_CHARS = 4000; // of code or plain text in one box, so that adding a line lays out one box

export class Prose {
  #parser = new BlockParser();
  #pending = '';
  #chars = 0;
  #open = []; // [{id, element}]: the containers of the last step
  #leaf = null; // {id, element}: the last paragraph, code or table
  #undo = null; // while a preview is shown: [open, leaf, nodes]

  constructor(root) {
    this.root = root;
  }

  // More text; it shows with the next render().
  append(text) {
    this.#pending += text;
    this.#chars += text.length;
    if (this.#chars > LONG_CHARS) this.root.classList.add('long');
  }

  render() {
    if (this.#pending === '') return;
    this.#takeBack();
    this.#apply(this.#parser.write(this.#pending));
    this.#pending = '';
    this.#undo = { open: this.#open.slice(), leaf: this.#leaf, nodes: [] };
    this.#apply(this.#parser.preview());
  }

  end() {
    this.#takeBack();
    this.#apply(this.#parser.write(this.#pending));
    this.#pending = '';
    this.#apply(this.#parser.end());
  }

  #takeBack() {
    if (this.#undo === null) return;
    for (const node of this.#undo.nodes.reverse()) node.remove();
    this.#open = this.#undo.open;
    this.#leaf = this.#undo.leaf;
    this.#undo = null;
  }

  #add(parent, node) {
    parent.append(node);
    this.#undo?.nodes.push(node);
    return node;
  }

  #apply(steps) {
    for (const step of steps) {
      const parent = this.#container(step.path);
      if (step.type === 'paragraph') this.#paragraph(parent, step);
      else if (step.type === 'code') this.#code(parent, step);
      else if (step.type === 'row') this.#row(parent, step);
      else if (step.type === 'rule') this.#add(parent, element('hr'));
      else if (step.type === 'heading') this.#heading(parent, step);
    }
  }

  #container(path) {
    let depth = 0;
    while (depth < path.length && this.#open[depth]?.id === path[depth].id) depth += 1;
    if (depth < this.#open.length) this.#open = this.#open.slice(0, depth);
    for (const container of path.slice(depth)) {
      const parent = this.#open.at(-1)?.element ?? this.root;
      this.#open.push({ id: container.id, element: this.#add(parent, containerElement(container)) });
    }
    return this.#open.at(-1)?.element ?? this.root;
  }

  #sameLeaf(id) {
    return this.#leaf?.id === id ? this.#leaf.element : null;
  }

  // A very long paragraph becomes several boxes without space between them.
  #paragraph(parent, { id, text }) {
    const known = this.#sameLeaf(id);
    let p = known;
    if (known === null || this.#leaf.chars > MAX_BOX_CHARS) {
      p = this.#add(parent, element('p', { dir: 'auto', class: known !== null && 'further' }));
      this.#leaf = { id, element: p, chars: 0 };
    }
    this.#leaf = { ...this.#leaf, chars: this.#leaf.chars + text.length };
    for (const node of parseInline(text)) this.#add(p, inlineNode(node));
  }

  // The page's own headings end with the third level: "You", "Answer".
  #heading(parent, { level, text }) {
    const heading = element(`h${Math.min(Math.max(level + 2, 4), 6)}`, { dir: 'auto', class: `level-${level}` });
    heading.append(...parseInline(text).map(inlineNode));
    this.#add(parent, heading);
  }

  #code(parent, { id, language, text }) {
    let code = this.#sameLeaf(id);
    if (code === null) {
      code = element('code');
      this.#leaf = { id, element: code };
      this.#add(parent, codeBlock(language, code));
    }
    if (text === '') return;
    if (this.#undo !== null) this.#add(code, document.createTextNode(text));
    else appendPlain(code, text);
  }

  #row(parent, { id, header, align, cells }) {
    let table = this.#sameLeaf(id);
    if (table === null) {
      table = element('table');
      this.#leaf = { id, element: table };
      this.#add(parent, element('div', { class: 'table', role: 'region', 'aria-label': 'Table', tabindex: '0' }, table));
    }
    const row = element('tr');
    for (const [i, cell] of cells.entries()) {
      row.append(element(header ? 'th' : 'td', { class: align[i], scope: header && 'col', dir: 'auto' }, ...parseInline(cell).map(inlineNode)));
    }
    this.#add(table, row);
  }
}

function containerElement({ type, ordered, start }) {
  if (type === 'quote') return element('blockquote');
  if (type === 'item') return element('li');
  return ordered ? element('ol', { start: String(start) }) : element('ul');
}

function codeBlock(language, code) {
  const name = element('span', {}, language);
  const head = element('div', { class: 'code-head' }, name, copyButton('Copy code', () => code.textContent));
  return element('div', { class: 'code' }, head, element('pre', { tabindex: '0', dir: 'ltr' }, code));
}

// Adds plain text in boxes of bounded size, each of whole lines unless a line is very long.
export function appendPlain(parent, text) {
  for (const piece of text.split(/(?<=\n)/)) {
    const last = parent.lastElementChild?.firstChild;
    const room = last && (last.length < CHUNK_CHARS || (!last.data.endsWith('\n') && last.length < 10 * CHUNK_CHARS));
    if (room) last.appendData(piece);
    else parent.append(element('span', { class: 'lines' }, piece));
  }
}

function inlineNode(node) {
  if (typeof node === 'string') return document.createTextNode(node);
  if (node.type === 'break') return element('br');
  if (node.type === 'code') return element('code', { dir: 'ltr' }, node.text);
  const children = node.children.map(inlineNode);
  if (node.type !== 'link') return element(node.type, {}, ...children);
  return element('a', { href: node.href, target: '_blank', rel: 'noopener noreferrer nofollow', title: node.href }, ...children);
}

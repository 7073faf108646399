// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockParser } from '../../../web/markdown.js';
import { parseInline, safeHref } from '../../../web/inline.js';
import { cpuMs } from './cpu_time.mjs';

// The steps as short lines: containers as > (quote), N. or - (item), then the leaf. Pieces of one leaf are joined.
function outline(steps) {
  const out = [];
  const leaves = new Map();
  for (const step of steps) {
    const place = step.path
      .filter((container) => container.type !== 'list')
      .map((container) => (container.type === 'quote' ? '>' : `${mark(step.path, container)}${container.id}`))
      .join(' ');
    if (step.type === 'open') continue;
    if (leaves.has(step.id) && step.type !== 'row') {
      leaves.get(step.id).text += step.text;
      continue;
    }
    const entry = { place, type: step.type, text: step.text, ...(step.level && { level: step.level }) };
    if (step.type === 'row') Object.assign(entry, { cells: step.cells, header: step.header, align: step.align });
    if (step.type === 'code') entry.language = step.language;
    out.push(entry);
    if (step.id !== undefined) leaves.set(step.id, entry);
  }
  return out;
}

function mark(path, item) {
  const list = path[path.indexOf(item) - 1];
  return list.ordered ? `${list.start}.` : '-';
}

function blocks(text) {
  const parser = new BlockParser();
  return outline([...parser.write(text), ...parser.end()]);
}

const brief = (text) => blocks(text).map((b) => [b.place.replace(/\d+$/, '').replace(/(-|\.)\d+ /g, '$1 '), b.type, b.text]);

test('paragraphs, headings, rules', () => {
  assert.deepEqual(brief('one\ntwo\n\nthree\n# A *b* #\n##not\n---\n####### seven'), [
    ['', 'paragraph', 'one\ntwo'],
    ['', 'paragraph', 'three'],
    ['', 'heading', 'A *b*'],
    ['', 'paragraph', '##not'],
    ['', 'rule', undefined],
    ['', 'paragraph', '####### seven'],
  ]);
  assert.equal(blocks('### x')[0].level, 3);
});

test('fenced code keeps every character and ends at its fence', () => {
  const [code, after] = blocks('```js title\n  a <b>\n\n~~~\n``\n````\nafter');
  assert.equal(code.language, 'js');
  assert.equal(code.text, '  a <b>\n\n~~~\n``\n');
  assert.equal(after.text, 'after');
  assert.equal(blocks('~~~\nopen')[0].text, 'open\n');
  assert.equal(blocks('``` a`b')[0].type, 'paragraph');
});

test('lists: nested, continued, with code and tasks', () => {
  assert.deepEqual(brief('- a\n- b\n  more\n  - c\n\n  para\n- [x] d'), [
    ['-', 'paragraph', 'a'],
    ['-', 'paragraph', 'b\nmore'],
    ['- -', 'paragraph', 'c'],
    ['-', 'paragraph', 'para'],
    ['-', 'paragraph', '☑ d'],
  ]);
  assert.deepEqual(brief('3. x\n  - y\n4. z'), [
    ['3.', 'paragraph', 'x'],
    ['3. -', 'paragraph', 'y'],
    ['3.', 'paragraph', 'z'],
  ]);
  const code = blocks('1. run\n   ```sh\n   ls\n     -l\n   ```\n2. done');
  assert.equal(code[1].text, 'ls\n  -l\n');
  assert.equal(code[2].text, 'done');
});

test('a sibling item belongs to the same list, another marker starts a new one', () => {
  const parser = new BlockParser();
  const steps = [...parser.write('1. a\n2. b\n- c\n'), ...parser.end()].filter((s) => s.type === 'paragraph');
  const lists = steps.map((s) => s.path[0].id);
  assert.equal(lists[0], lists[1]);
  assert.notEqual(lists[1], lists[2]);
  assert.notEqual(steps[0].path[1].id, steps[1].path[1].id);
});

test('numbers inside a sentence start no list', () => {
  assert.equal(blocks('It was\n1999. A good year').length, 1);
  assert.equal(blocks('Steps:\n1. one').length, 2);
});

test('quotes, lazy lines, items inside', () => {
  assert.deepEqual(brief('> a\nb\n> - c\n\nd'), [
    ['>', 'paragraph', 'a\nb'],
    ['> -', 'paragraph', 'c'],
    ['', 'paragraph', 'd'],
  ]);
});

test('tables', () => {
  const rows = blocks('Text\n| a | b \\| c |\n|:--|--:|\n| 1 |\n| `x` | 3 | 4 |\n\nafter');
  assert.equal(rows[0].text, 'Text');
  assert.deepEqual(rows[1], { place: '', type: 'row', text: undefined, cells: ['a', 'b | c'], header: true, align: ['left', 'right'] });
  assert.deepEqual(rows[2].cells, ['1', '']);
  assert.deepEqual(rows[3].cells, ['`x`', '3']);
  assert.equal(rows[4].text, 'after');
  assert.equal(blocks('a | b\n--- | --- | ---')[0].type, 'paragraph');
});

const SAMPLE = `# Title

Some **bold** and \`code\`,
next line.

1. one
   - inner
   \`\`\`py
   print("x")

   y
   \`\`\`
2. two

> quote
> - item

| a | b |
|---|:-:|
| 1 | 2 |

---
* [ ] task\r
last line without end`;

test('pieces of any size give the same steps as the whole', () => {
  const whole = blocks(SAMPLE);
  let state = 12345;
  const random = (n) => (state = (state * 1103515245 + 12345) % 2147483648) % n;
  for (let round = 0; round < 300; round += 1) {
    const parser = new BlockParser();
    const steps = [];
    for (let at = 0; at < SAMPLE.length; ) {
      const size = 1 + random(round % 2 ? 4 : 40);
      steps.push(...parser.write(SAMPLE.slice(at, at + size)));
      parser.preview();
      at += size;
    }
    steps.push(...parser.end());
    assert.deepEqual(outline(steps), whole);
  }
});

test('a preview at every prefix is what that prefix alone gives', () => {
  const parser = new BlockParser();
  const sure = [];
  for (let i = 0; i < SAMPLE.length; i += 1) {
    sure.push(...parser.write(SAMPLE[i]));
    assert.deepEqual(outline([...sure, ...parser.preview()]), blocks(SAMPLE.slice(0, i + 1)), `prefix ${i + 1}`);
  }
});

test('soup: the same steps in any pieces, and no letter lost', () => {
  const parts = ['a', 'b c', '\n', '\n\n', '- ', '1. ', '> ', '# ', '```', '```js\n', '| x | y |\n', '|---|---|\n', '  ', '    ', '\t', '---', '**', '_', '`', '[l](http://x.y)', '\r\n', '* * *', '~~~', '\\', '<b>', '&amp;', '2) ', '+ '];
  let state = 7;
  const random = (n) => (state = (state * 1103515245 + 12345) % 2147483648) % n;
  for (let round = 0; round < 2000; round += 1) {
    const text = Array.from({ length: 1 + random(40) }, () => parts[random(parts.length)]).join('');
    const whole = blocks(text);
    const parser = new BlockParser();
    const steps = [];
    for (let at = 0; at < text.length; ) {
      const size = 1 + random(7);
      steps.push(...parser.write(text.slice(at, at + size)));
      at += size;
      assert.deepEqual(outline([...steps, ...parser.preview()]), blocks(text.slice(0, at)), JSON.stringify(text.slice(0, at)));
    }
    assert.deepEqual(outline([...steps, ...parser.end()]), whole, JSON.stringify(text));
    const letters = (s) => s.replace(/[^abcx]/g, '').length;
    const shown = whole.map((b) => (b.cells ? b.cells.join('') : b.text ?? '') + (b.language ?? '')).join('');
    if (!/```|~~~|\|/.test(text)) assert.equal(letters(shown), letters(text), JSON.stringify(text));
    for (const block of whole) JSON.stringify(parseInline(block.text ?? ''));
  }
});

test('a line without end comes out in parts and loses nothing', () => {
  for (const text of ['x'.repeat(100_001), 'word '.repeat(20_000), '# ' + 'h'.repeat(9000), '😀'.repeat(9000)]) {
    const parser = new BlockParser();
    const steps = [];
    for (let i = 0; i < text.length; i += 777) steps.push(...parser.write(text.slice(i, i + 777)));
    steps.push(...parser.end());
    assert.equal(steps.map((s) => s.text).join(''), text.startsWith('# ') ? text.slice(2) : text);
    for (const step of steps) {
      assert.ok(step.text.length <= 4000);
      assert.ok(step.text.isWellFormed?.() ?? true);
    }
  }
});

const inline = (text) => JSON.stringify(parseInline(text).map(short));
const SHORT = { em: 'i', strong: 'b', del: 's' };
function short(node) {
  if (typeof node === 'string') return node;
  if (node.type === 'code') return { c: node.text };
  if (node.type === 'break') return 'BR';
  if (node.type === 'link') return { a: node.href, x: node.children.map(short) };
  return { [SHORT[node.type]]: node.children.map(short) };
}

test('emphasis as CommonMark has it', () => {
  assert.equal(inline('a *b* **c** ***d*** ~~e~~ ~f~'), '["a ",{"i":["b"]}," ",{"b":["c"]}," ",{"i":[{"b":["d"]}]}," ",{"s":["e"]}," ~f~"]');
  assert.equal(inline('snake_case_name and 2*3*4 _x_'), '["snake_case_name and 2",{"i":["3"]},"4 ",{"i":["x"]}]');
  assert.equal(inline('**a *b** c*'), '[{"i":[{"i":["a ",{"i":["b"]}]}," c"]}]');
  assert.equal(inline('*a **b** c*'), '[{"i":["a ",{"b":["b"]}," c"]}]');
  assert.equal(inline('** a ** * b'), '["** a ** * b"]');
  assert.equal(inline('**bold:** text'), '[{"b":["bold:"]}," text"]');
});

test('code spans, escapes, entities, breaks', () => {
  assert.equal(inline('`a` ``b`c`` `` ` `` `open'), '[{"c":"a"}," ",{"c":"b`c"}," ",{"c":"`"}," `open"]');
  assert.equal(inline('\\*a\\* \\q &lt;b&gt; &amp;lt; &bogus;'), '["*a* \\\\q <b> &lt; &bogus;"]');
  assert.equal(inline('a  \nb'), '["a","BR","b"]');
  assert.equal(inline('`**x**`'), '[{"c":"**x**"}]');
});

test('links: only http, https and mailto', () => {
  assert.equal(inline('[t *e*](https://a.b/c?d=1 "title")'), '[{"a":"https://a.b/c?d=1","x":["t ",{"i":["e"]}]}]');
  assert.equal(inline('see https://a.b/c(d). And (http://x.y/).'), '["see ",{"a":"https://a.b/c(d)","x":["https://a.b/c(d)"]},". And (",{"a":"http://x.y/","x":["http://x.y/"]},")."]');
  assert.equal(inline('<mailto:a@b.c>'), '[{"a":"mailto:a@b.c","x":["mailto:a@b.c"]}]');
  assert.equal(inline('![alt](http://x.y/z.png)'), '[{"a":"http://x.y/z.png","x":["alt"]}]');
  for (const bad of ['javascript:alert(1)', 'JaVaScRiPt:alert(1)', 'data:text/html,x', 'vbscript:x', '//evil', 'java\tscript:a', '\u0001javascript:a', 'file:///etc/passwd', 'blob:null/x', '/relative', '']) {
    assert.equal(safeHref(bad), null, bad);
    assert.ok(!inline(`[x](${bad})`).includes('"a":'), bad);
  }
  assert.equal(inline('[a [b](http://c.d) e](http://f.g)'), '["[a ",{"a":"http://c.d/","x":["b"]}," e](",{"a":"http://f.g/","x":["http://f.g"]},")"]');
});

test('no input is slow, deep or lost', () => {
  const bombs = ['*a '.repeat(1300), 'a* '.repeat(1300), '*a _b '.repeat(650), '['.repeat(4000), '[a]('.repeat(1000), '](('.repeat(1300), '`'.repeat(4000),
    Array.from({ length: 85 }, (_, i) => '`'.repeat(i + 1)).join('a'), '*'.repeat(4000), '**a'.repeat(700) + 'a**'.repeat(600), '<http:'.repeat(600), '![[]('.repeat(800),
    '[a](http://b'.repeat(330), '\\'.repeat(4000), '&'.repeat(4000), '~~a'.repeat(1300), 'h'.repeat(4000), 'https://'.repeat(500), '_*_*'.repeat(1000)];
  const depth = (nodes) => 1 + Math.max(0, ...nodes.map((n) => (n.children ? depth(n.children) : 0)));
  for (const bomb of bombs) {
    const ms = cpuMs(() => {
      for (let i = 0; i < 5; i += 1) parseInline(bomb);
    });
    assert.ok(ms < 500, `${bomb.slice(0, 20)}: ${ms} ms for 20 KB`);
    assert.ok(depth(parseInline(bomb)) <= 19);
  }
  for (const line of ['> '.repeat(3000), '- '.repeat(3000), '1. '.repeat(2000), '|'.repeat(9000), '#'.repeat(9000), '- - -'.repeat(900)]) {
    let steps;
    const ms = cpuMs(() => (steps = blocks((line + '\n').repeat(20))));
    assert.ok(ms < 1000, `${line.slice(0, 10)}: ${ms} ms`);
    for (const step of steps) assert.ok(step.place.split(' ').length <= 9);
  }
});

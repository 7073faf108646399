// SPDX-License-Identifier: Apache-2.0
// The chat page in headless Chromium, against a stand-in that plays answers.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { answered, axe, fits, launch, openPage, say, settled, shot, skip } from './browser.mjs';
import { HOSTILE, MARKDOWN, pause, startStandIn } from './stand_in.mjs';

let browser;
let server;
before(async () => {
  if (skip) return;
  browser = await launch();
  server = await startStandIn();
});
after(async () => {
  await browser?.close();
  await server?.close();
});
// Each case has a browser context of its own: an empty store.
const check = (name, body, options = {}) =>
  test(name, { skip }, async () => {
    server.requests.length = 0;
    const page = await openPage(browser, server.url, options);
    try {
      await body(page);
      settled(page);
    } finally {
      await page.context().close();
    }
  });
// What the stand-in plays stops half-way until the function that this returns is called.
function holdServer() {
  let release;
  server.hold = new Promise((resolve) => (release = resolve));
  return () => {
    server.hold = undefined;
    release();
  };
}

check('an answer streams, is laid out and counted', async (page) => {
  await shot(page, 'empty-1024');
  await say(page, 'essay on ice');
  await page.locator('.prose h4').waitFor();
  await shot(page, 'streaming-1024');
  assert.equal(await page.locator('#send').getAttribute('aria-label'), 'Stop');
  await answered(page);
  const counts = await page.evaluate(() => Object.fromEntries(['h4', 'strong', 'em', 'ol > li', 'ul li', 'pre', 'tr', 'blockquote', 'hr', 'a'].map((s) => [s, document.querySelectorAll(`.prose ${s}`).length])));
  assert.deepEqual(counts, { h4: 1, strong: 1, em: 1, 'ol > li': 2, 'ul li': 4, pre: 1, tr: 4, blockquote: 1, hr: 1, a: 2 });
  for (const rel of await page.locator('.prose a').evaluateAll((links) => links.map((a) => `${a.rel} ${a.target}`))) assert.equal(rel, 'noopener noreferrer nofollow _blank');
  assert.match(await page.locator('.stats').innerText(), /Prompt 1,284 \(1,216 cached\)\s+Answer 231 \(6 thinking\)\s+\d[\d.,]* tokens\/s\s+First after \d+ ms/);
  assert.equal(await page.locator('#model').innerText(), 'kimi-k2-thinking · 262,144 tokens');
  assert.equal(server.requests[0].stream_options.include_usage, true);
  await shot(page, 'answer-1024');
});

check('looks at four widths, in light and dark, and nothing is cut', async (page) => {
  await say(page, 'essay on ice');
  await answered(page);
  for (const [width, height] of [[1440, 900], [1024, 768], [390, 844], [320, 640]]) {
    await page.setViewportSize({ width, height });
    for (const scheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme: scheme });
      await page.evaluate(() => document.querySelector('#scroller').scrollTo(0, 0));
      await pause(100);
      await shot(page, `essay-${width}-${scheme}`);
      assert.ok(await fits(page), `${width} ${scheme}`);
    }
  }
});

check('thinking is folded, ticks, and opens', async (page) => {
  const release = holdServer();
  await say(page, 'think of peaks');
  await page.locator('summary', { hasText: /^Thinking… [1-9]\d* s$/ }).waitFor();
  assert.equal(await page.locator('.thinking-body').innerText(), '');
  await page.locator('summary').click();
  await page.locator('.thinking-body', { hasText: 'peaks one by one' }).waitFor();
  await shot(page, 'thinking-live-1024');
  release();
  assert.equal(await answered(page), 'Five of them.');
  assert.match(await page.locator('summary').innerText(), /^Thought for [\d.]+ (s|min)/);
  assert.equal((await page.locator('.thinking-body').textContent()).length, 'Let me count the peaks one by one. '.length * 30);
  await shot(page, 'thinking-open-1024');
  await say(page, 'and now');
  await answered(page);
  assert.ok(server.requests[1].messages[1].reasoning_content.startsWith('Let me count'));
});

check('tool calls are cards; a pasted result goes on', async (page) => {
  await page.getByRole('button', { name: 'Settings' }).first().click();
  await page.fill('#tools', '[{"name":"get_weather","parameters":{"type":"object"}}]');
  assert.equal(await page.locator('#tools-state').innerText(), 'Declared: get_weather');
  await page.keyboard.press('Escape');
  await say(page, 'weather in Skardu');
  await page.getByLabel('Result of get_weather').waitFor();
  assert.equal(server.requests[0].tools[0].function.name, 'get_weather');
  assert.match(await page.locator('.call pre').first().innerText(), /"city": "Skardu",\n {2}"units": \{"temperature": "C", "wind": "m\/s"\},\n[^]*12345678901234567890/);
  await shot(page, 'tool-1024');
  assert.deepEqual(await axe(page), []);
  await page.getByLabel('Result of get_weather').fill('{"sky":"clear"}');
  await page.getByRole('button', { name: 'Continue with this result' }).click();
  await page.locator('.answer').nth(1).waitFor();
  assert.equal(await answered(page), 'The tool says: {"sky":"clear"}');
  const sent = server.requests[1].messages;
  assert.deepEqual(sent.map((m) => m.role), ['user', 'assistant', 'tool']);
  assert.equal(sent[2].tool_call_id, 'functions.get_weather:0');
  assert.equal(sent[1].tool_calls[0].function.arguments, '{"city":"Skardu","units":{"temperature":"C","wind":"m/s"},"days":[1,2,3],"station":12345678901234567890}');
  await shot(page, 'tool-result-1024');
  await page.reload();
  assert.equal(await page.locator('.call pre').count(), 2);
});

check('a call nobody answers is left out when the talk goes on', async (page) => {
  await say(page, 'weather in Skardu');
  await page.getByLabel('Result of get_weather').waitFor();
  await say(page, 'never mind');
  await answered(page);
  assert.deepEqual(server.requests[1].messages.map((m) => [m.role, 'tool_calls' in m]), [['user', false], ['assistant', false], ['user', false]]);
  assert.match(await page.locator('.call').innerText(), /Not answered/);
});

check('stopping keeps what came; again and edit', async (page) => {
  await say(page, 'slow please');
  await page.locator('.prose', { hasText: 'word10' }).waitFor();
  await page.keyboard.press('Escape');
  const kept = await answered(page);
  assert.match(kept, /^word0 word1 /);
  assert.match(await page.locator('.stats').innerText(), /stopped/);
  await page.getByRole('button', { name: 'Answer again' }).click();
  await page.locator('.prose', { hasText: 'word3' }).waitFor();
  await page.getByRole('button', { name: 'Stop', exact: true }).click();
  await answered(page);
  assert.equal(await page.locator('.answer').count(), 1);
  await page.locator('.user').hover();
  await page.getByRole('button', { name: 'Edit message' }).click();
  await page.getByLabel('Edit your message').fill('hello there');
  await shot(page, 'edit-1024');
  await page.keyboard.press('Enter');
  await page.locator('.prose', { hasText: 'You said: hello there' }).waitFor();
  assert.equal(await page.locator('.user').count(), 1);
  assert.equal(server.requests.at(-1).messages.length, 1);
});

check('the prompt being read shows how far', async (page) => {
  const release = holdServer();
  await say(page, 'prefill please');
  await page.locator('.waiting progress').waitFor();
  await page.locator('.waiting', { hasText: /Reading the prompt: [1-9][\d,]+ of 16,384 tokens, (\d+ s, )?about \d+ s left/ }).waitFor();
  await shot(page, 'prefill-1024');
  release();
  await answered(page);
  assert.equal(await page.locator('.waiting').isVisible(), false);
});

const FAILURES = [
  ['busy', 'the queue is full', ''],
  ['drain', 'the server is shutting down', ''],
  ['wrong', 'temperature: a number', ''],
  ['cut', 'Connection lost', 'This answer will not be'],
  ['half', 'ended before the answer did', 'This one just stops'],
  ['broken', 'the server failed to answer', 'Something is wrong'],
  ['garbage', 'no JSON object', ''],
];
for (const [word, message, kept] of FAILURES) {
  check(`failure: ${word}`, async (page) => {
    await say(page, `${word} please`);
    assert.equal((await answered(page)).trim(), kept);
    assert.ok((await page.getByRole('alert').innerText()).includes(message));
    await shot(page, `failure-${word}-1024`);
    assert.deepEqual(await axe(page), []);
    const retry = page.getByRole('button', { name: /Try again/ });
    if (word === 'busy') assert.equal(await retry.isDisabled(), true);
    await page.getByRole('button', { name: 'Try again', exact: true }).click();
    await answered(page);
    assert.equal(server.requests.length, 2);
    await page.reload();
    assert.ok((await page.locator('.problem').innerText()).includes(message), 'kept with the conversation');
  }, { tolerate: [/Failed to load resource/, /ERR_INCOMPLETE_CHUNKED/] });
}

check('a server that is gone, and back', async (page) => {
  server.down = true;
  await say(page, 'hello');
  await page.locator('.problem', { hasText: 'The server does not answer.' }).waitFor();
  server.down = false;
  await page.getByRole('button', { name: 'Try again' }).click();
  assert.equal(await answered(page), 'You said: hello');
}, { tolerate: [/Failed to load resource/] });

check('an answer cut by the token limit says so', async (page) => {
  await say(page, 'short please');
  await answered(page);
  assert.match(await page.locator('.stats').innerText(), /cut at the token limit/);
});

check('a server with keys: asked for, kept for the tab only', async (page) => {
  server.key = 'open sesame';
  try {
    await page.reload();
    await page.locator('.notice', { hasText: 'needs an API key' }).waitFor();
    await shot(page, 'key-needed-1024');
    await say(page, 'hello');
    await page.getByRole('alert').getByRole('button', { name: 'Enter a key' }).click();
    assert.equal(await page.evaluate(() => document.activeElement.id), 'key');
    await page.fill('#key', 'open sesame');
    await shot(page, 'settings-1024');
    await page.keyboard.press('Escape');
    await page.locator('.notice').waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Try again' }).click();
    assert.equal(await answered(page), 'You said: hello');
    assert.equal(await page.evaluate(() => JSON.stringify(localStorage).includes('sesame')), false);
    await page.reload();
    await page.locator('#model', { hasText: 'kimi' }).waitFor();
    const other = await openPage(browser, server.url, { context: page.context(), tolerate: [/401/] });
    await other.locator('.notice', { hasText: 'needs an API key' }).waitFor();
  } finally {
    server.key = null;
  }
}, { tolerate: [/401/] });

check('settings reach the server, nonsense does not', async (page) => {
  await page.getByRole('button', { name: 'Settings' }).first().click();
  await page.fill('#system', 'Be brief.');
  await page.fill('#temperature', '0.3');
  await page.fill('#top_p', '7');
  await page.fill('#max_tokens', '64');
  await page.fill('#seed', '11');
  await page.selectOption('#thinking', 'off');
  await page.fill('#tools', '[{');
  assert.match(await page.locator('#tools-state').innerText(), /not JSON/);
  assert.equal(await page.locator('#top_p').getAttribute('aria-invalid'), 'true');
  await shot(page, 'settings-bad-1024');
  assert.deepEqual(await axe(page), []);
  await page.getByRole('button', { name: 'Close' }).click();
  await page.locator('#settings').waitFor({ state: 'hidden' });
  assert.equal(await page.locator('#summary').innerText(), 'temperature 0.3 · at most 64 tokens · seed 11 · thinking off · system prompt');
  await page.reload();
  await say(page, 'hello');
  await answered(page);
  const [body] = server.requests;
  assert.deepEqual([body.temperature, body.top_p, body.max_tokens, body.seed, body.thinking, body.tools], [0.3, undefined, 64, 11, { type: 'disabled' }, undefined]);
  assert.deepEqual(body.messages[0], { role: 'system', content: 'Be brief.' });
});

check('a hostile answer does nothing and asks for nothing', async (page) => {
  await say(page, 'hostile please');
  const text = await answered(page);
  assert.ok(text.includes('<script>window.hacked = 1</script>'));
  const inside = await page.evaluate(() => ({
    hacked: window.hacked,
    elements: [...new Set([...document.querySelectorAll('.prose *')].map((e) => e.localName))].sort(),
    attributes: [...new Set([...document.querySelectorAll('.prose *')].flatMap((e) => e.getAttributeNames()))].sort(),
    links: [...document.querySelectorAll('.prose a')].map((a) => a.protocol),
    depth: Math.max(...[...document.querySelectorAll('.prose *')].map((e) => { let d = 0; for (let x = e; x; x = x.parentElement) d += 1; return d; })),
  }));
  assert.equal(inside.hacked, undefined);
  for (const name of inside.elements) assert.ok(['a', 'blockquote', 'br', 'button', 'code', 'div', 'em', 'li', 'p', 'path', 'pre', 'span', 'strong', 'svg', 'table', 'td', 'th', 'tr', 'ul'].includes(name), name);
  for (const name of inside.attributes) assert.ok(!name.startsWith('on') && !['src', 'style', 'srcdoc', 'action'].includes(name), name);
  for (const protocol of inside.links) assert.ok(['http:', 'https:', 'mailto:'].includes(protocol), protocol);
  assert.ok(inside.depth < 60);
  assert.ok(await fits(page));
  await page.setViewportSize({ width: 320, height: 640 });
  assert.ok(await fits(page), 'at 320');
  await shot(page, 'hostile-320');
  await page.reload();
  assert.equal(await page.locator('.answer .prose').innerText(), await page.locator('.answer .prose').innerText());
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.ok(HOSTILE.length > 10_000);
});

for (const kind of ['paragraphs', 'line', 'code']) {
  check(`a megabyte of ${kind} stays smooth`, async (page) => {
    await page.evaluate(() => {
      window.slow = [];
      new PerformanceObserver((list) => window.slow.push(...list.getEntries().map((e) => e.duration))).observe({ type: 'longtask' });
    });
    const started = Date.now();
    await say(page, `long ${kind}`);
    await answered(page);
    const seconds = (Date.now() - started) / 1000;
    const { longest, sum, length } = await page.evaluate(() => ({ longest: Math.max(0, ...window.slow), sum: window.slow.reduce((a, b) => a + b, 0), length: document.querySelector('.answer .prose').textContent.length }));
    console.log(`${kind}: ${seconds.toFixed(1)} s, long tasks ${Math.round(sum)} ms in all, the longest ${Math.round(longest)} ms`);
    assert.ok(length > 900_000, String(length));
    assert.ok(longest < 1500, `a task of ${longest} ms`);
    await page.locator('#prompt').fill('still alive');
  });
}

check('conversations: kept, renamed, deleted, exported, imported', async (page) => {
  await say(page, 'first talk');
  await answered(page);
  await page.getByRole('button', { name: 'New conversation' }).click();
  await say(page, 'second talk');
  await answered(page);
  assert.deepEqual(await page.locator('#list .open').allInnerTexts(), ['second talk', 'first talk']);
  await page.locator('#list li', { hasText: 'first talk' }).hover();
  await page.getByRole('button', { name: 'Rename: first talk' }).click();
  await page.getByLabel('Title').fill('Renamed');
  await page.keyboard.press('Enter');
  await page.locator('#list .open', { hasText: 'Renamed' }).click();
  await page.locator('.user', { hasText: 'first talk' }).waitFor();
  assert.equal(await page.locator('#title').innerText(), 'Renamed');
  await page.goBack();
  await page.locator('.user', { hasText: 'second talk' }).waitFor();
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Export' }).click()]);
  const file = await download.path();
  await page.locator('#list li', { hasText: 'second talk' }).hover();
  await page.getByRole('button', { name: 'Delete: second talk' }).click();
  await shot(page, 'delete-1024');
  await page.getByRole('button', { name: 'Cancel' }).click();
  assert.equal(await page.locator('#list li').count(), 2);
  await page.locator('#list li', { hasText: 'second talk' }).hover();
  await page.getByRole('button', { name: 'Delete: second talk' }).click();
  await page.getByRole('button', { name: 'Delete', exact: true }).click();
  await page.locator('.welcome').waitFor();
  assert.deepEqual(await page.locator('#list .open').allInnerTexts(), ['Renamed']);
  await page.setInputFiles('#import-file', file);
  await page.locator('.notice', { hasText: '2 conversations imported.' }).waitFor();
  assert.equal(await page.locator('#list li').count(), 3);
  await page.setInputFiles('#import-file', { name: 'x.json', mimeType: 'application/json', buffer: Buffer.from('{"format":1}') });
  await page.locator('.notice', { hasText: 'holds no conversations' }).waitFor();
  await page.reload();
  assert.equal(await page.locator('#list li').count(), 3);
});

check('a damaged store does not keep the page from starting', async (page) => {
  await page.evaluate(() => {
    localStorage.setItem('baltoro.chat.broken', '{"id":"broken","messages":[{');
    localStorage.setItem('baltoro.settings', '{{{');
    localStorage.setItem('baltoro.theme', '"><script>');
  });
  await page.reload();
  await page.locator('.notice', { hasText: 'cannot be read' }).waitFor();
  await say(page, 'hello');
  assert.equal(await answered(page), 'You said: hello');
  assert.equal(await page.evaluate(() => localStorage.getItem('baltoro.chat.broken')), '{"id":"broken","messages":[{');
});

check('a full store says so and the talk goes on', async (page) => {
  await page.evaluate(() => {
    for (let i = 0, part = 'x'.repeat(1 << 20); part.length > 8; i += 1) {
      try {
        localStorage.setItem(`filler${i}`, part);
      } catch {
        part = part.slice(part.length / 2);
      }
    }
  });
  await say(page, 'hello');
  assert.equal(await answered(page), 'You said: hello');
  await page.locator('.notice', { hasText: 'no room' }).waitFor();
  assert.equal(await page.locator('.notice').count(), 1);
  await shot(page, 'full-1024');
});

check('two tabs: the list follows, a conflict becomes a copy', async (page) => {
  await say(page, 'shared talk');
  await answered(page);
  const other = await openPage(browser, server.url, { context: page.context(), path: new URL(page.url()).hash });
  await other.locator('.user', { hasText: 'shared talk' }).waitFor();
  await say(other, 'from the other tab');
  await answered(other);
  await page.locator('.user', { hasText: 'from the other tab' }).waitFor();
  await say(page, 'slow left');
  await page.locator('.prose', { hasText: 'word5' }).waitFor();
  await say(other, 'right');
  await answered(other);
  await page.keyboard.press('Escape');
  await page.locator('#list li').nth(1).waitFor();
  await other.locator('#list li').nth(1).waitFor();
  await page.locator('.notice', { hasText: 'goes on as a copy' }).waitFor();
  assert.match(await page.locator('.answer').last().innerText(), /word5/);
  await page.reload();
  assert.match(await page.locator('.answer').last().innerText(), /word5/);
  await other.reload();
  assert.deepEqual(await other.locator('.said').allInnerTexts(), ['shared talk', 'from the other tab', 'slow left', 'right']);
  settled(other);
});

check('an answer goes on while another conversation is shown', async (page) => {
  await say(page, 'essay on ice');
  await page.getByRole('button', { name: 'New conversation' }).click();
  await say(page, 'hello');
  assert.equal(await answered(page), 'You said: hello');
  await page.locator('#list .working').waitFor({ state: 'detached' });
  await page.locator('#list .open', { hasText: 'essay' }).click();
  await page.locator('.prose', { hasText: 'That is all there is to it.' }).waitFor();
  assert.equal(await page.locator('.stats').isVisible(), true);
});

check('reading further up is not disturbed', async (page) => {
  await page.setViewportSize({ width: 800, height: 400 });
  await say(page, 'essay on ice');
  await page.locator('.prose tr').first().waitFor();
  await page.mouse.move(500, 200);
  await page.mouse.wheel(0, -2000);
  await page.locator('#to-end').waitFor();
  await pause(300);
  assert.ok((await page.evaluate(() => document.querySelector('#scroller').scrollTop)) < 50);
  await answered(page);
  await page.getByRole('button', { name: 'Latest' }).click();
  await page.locator('#to-end').waitFor({ state: 'hidden' });
  assert.ok(await page.evaluate(() => { const s = document.querySelector('#scroller'); return s.scrollHeight - s.scrollTop - s.clientHeight < 5; }));
});

check('all by keyboard', async (page) => {
  const focus = () => page.evaluate(() => document.activeElement.id || document.activeElement.getAttribute('aria-label') || document.activeElement.textContent.slice(0, 30));
  assert.equal(await focus(), 'prompt');
  await page.keyboard.type('hello');
  await page.keyboard.press('Shift+Enter');
  await page.keyboard.type('again');
  assert.equal(await page.inputValue('#prompt'), 'hello\nagain');
  await page.keyboard.press('Enter');
  await answered(page);
  assert.equal(await focus(), 'prompt');
  await page.reload();
  await page.locator('.skip').focus();
  const order = [await focus()];
  while (order.at(-1) !== 'prompt') {
    assert.ok(order.length < 30, order.join(' > '));
    await page.keyboard.press('Tab');
    order.push(await focus());
    const visible = await page.evaluate(() => { const s = getComputedStyle(document.activeElement); const box = document.activeElement.getBoundingClientRect(); return s.opacity !== '0' && box.width > 1 && (s.outlineStyle !== 'none' || document.activeElement.id === 'prompt'); });
    assert.ok(visible, `focus is not to be seen on ${order.at(-1)}`);
  }
  console.log('focus order:', order.join(' > '));
  assert.equal(order[0], 'Skip to the message box');
  for (const name of ['new-chat', 'hello', 'Rename: hello', 'export', 'toggle-list', 'theme', 'open-settings', 'Copy message', 'Copy answer', 'Answer again', 'prompt']) assert.ok(order.includes(name), name);
  await page.locator('.skip').focus();
  await shot(page, 'skip-1024');
  await page.keyboard.press('Enter');
  assert.equal(await focus(), 'prompt');
});

check('a drawer on narrow screens', async (page) => {
  await page.setViewportSize({ width: 320, height: 640 });
  assert.equal(await page.locator('#sidebar').isVisible(), false);
  await say(page, 'hello');
  await answered(page);
  await page.getByRole('button', { name: 'Conversations' }).click();
  assert.equal(await page.evaluate(() => document.activeElement.id), 'new-chat');
  await pause(200);
  await shot(page, 'drawer-320');
  assert.deepEqual(await axe(page), []);
  await page.keyboard.press('Escape');
  assert.equal(await page.locator('#sidebar').isVisible(), false);
  assert.equal(await page.evaluate(() => document.activeElement.id), 'toggle-list');
  await page.getByRole('button', { name: 'Settings' }).first().click();
  await shot(page, 'settings-320');
  assert.ok(await fits(page));
});

check('Escape that closes the drawer stops no answer', async (page) => {
  await page.setViewportSize({ width: 390, height: 844 });
  await say(page, 'slow please');
  await page.locator('.prose', { hasText: 'word3' }).waitFor();
  await page.getByRole('button', { name: 'Conversations' }).click();
  await page.keyboard.press('Escape');
  assert.equal(await page.locator('#sidebar').isVisible(), false);
  const said = await page.locator('.prose').innerText();
  await page.waitForFunction((length) => document.querySelector('.prose').innerText.length > length, said.length);
  assert.equal(await page.getByRole('button', { name: 'Stop', exact: true }).count(), 1);
  await page.keyboard.press('Escape');
  await answered(page);
});

check('the theme: system, light, dark, kept', async (page) => {
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.emulateMedia({ colorScheme: 'dark' });
  assert.equal(await ground(), 'rgb(21, 24, 27)');
  await page.getByRole('button', { name: 'Theme: as the system' }).click();
  assert.equal(await ground(), 'rgb(252, 251, 249)');
  await page.reload();
  assert.equal(await ground(), 'rgb(252, 251, 249)');
  await page.getByRole('button', { name: 'Theme: light' }).click();
  await page.emulateMedia({ colorScheme: 'light' });
  assert.equal(await ground(), 'rgb(21, 24, 27)');
  await page.getByRole('button', { name: 'Theme: dark' }).click();
  assert.equal(await ground(), 'rgb(252, 251, 249)');
});

check('copies what was said, exactly', async (page) => {
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
  await say(page, 'essay on ice');
  await answered(page);
  await page.getByRole('button', { name: 'Copy code' }).click();
  assert.equal(await clipboard(), 'def speed(A, n, tau, H):\n    return 2 * A / (n + 1) * tau**n * H   # metres a year\n');
  await page.getByRole('button', { name: 'Copy answer' }).click();
  assert.equal(await clipboard(), MARKDOWN);
  await page.locator('.user').hover();
  await page.getByRole('button', { name: 'Copy message' }).click();
  assert.equal(await clipboard(), 'essay on ice');
  // Pages over plain HTTP from other machines have no clipboard interface.
  await page.evaluate(() => Object.defineProperty(navigator, 'clipboard', { value: undefined }));
  await page.getByRole('button', { name: 'Copy code' }).click();
  await page.locator('.code').getByRole('button', { name: 'Copied' }).waitFor();
  await page.fill('#prompt', '');
  await page.press('#prompt', 'Control+v');
  assert.match(await page.inputValue('#prompt'), /^def speed/);
});

check('Enter inside an input method does not send', async (page) => {
  await page.fill('#prompt', 'にほん');
  await page.locator('#prompt').dispatchEvent('keydown', { key: 'Enter', isComposing: true, bubbles: true, cancelable: true });
  await page.locator('#prompt').dispatchEvent('keydown', { key: 'Enter', keyCode: 229, bubbles: true, cancelable: true });
  assert.equal(await page.locator('.user').count(), 0);
  await page.press('#prompt', 'Enter');
  assert.equal(await answered(page), 'You said: にほん');
});

check('a long message and open thinking scroll inside, by keyboard too', async (page) => {
  await say(page, `think ${'a long message '.repeat(2000)}`);
  await answered(page);
  await page.locator('summary').click();
  await page.locator('.thinking-body', { hasText: 'peaks' }).waitFor();
  assert.ok(await fits(page));
  assert.deepEqual(await axe(page), []);
  await shot(page, 'long-message-1024');
});

check('axe finds nothing: empty, answered, light, dark', async (page) => {
  assert.deepEqual(await axe(page), []);
  await say(page, 'essay on ice');
  await answered(page);
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await axe(page), [], colorScheme);
  }
});

check('what screen readers hear is little', async (page) => {
  await page.evaluate(() => {
    window.heard = [];
    new MutationObserver(() => window.heard.push(document.querySelector('#live').textContent)).observe(document.querySelector('#live'), { childList: true, characterData: true, subtree: true });
  });
  await say(page, 'think of peaks');
  await answered(page);
  assert.deepEqual(await page.evaluate(() => window.heard), ['Thinking', 'Answering', 'Answer: Five of them.']);
});

check('a second document may not frame the page or read it', async (page) => {
  const blocked = await page.evaluate(async () => {
    const frame = document.createElement('iframe');
    frame.src = '/';
    document.body.append(frame);
    await new Promise((resolve) => setTimeout(resolve, 300));
    try {
      document.body.innerHTML = '<img>';
      return 'markup was taken';
    } catch (error) {
      return error.constructor.name;
    }
  });
  assert.equal(blocked, 'TypeError');
}, { tolerate: [/Content Security Policy/, /frame/i, /TrustedHTML/] });

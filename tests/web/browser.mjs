// SPDX-License-Identifier: Apache-2.0
// A headless Chromium for the tests, and looks at what it shows. SHOTS=DIR keeps screenshots.
import assert from 'node:assert/strict';
import { accessSync, constants, mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const WAIT_MS = 120_000; // for what always comes: a busy machine may keep both sides waiting
const PLACES = [process.env.CHROMIUM, '/usr/bin/chromium-headless-shell', '/usr/bin/chromium', '/usr/bin/google-chrome'];

function runnable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

const executablePath = PLACES.find((path) => path && runnable(path));
const playwright = await import('playwright-core').catch(() => null);
// Why there is nothing to test with, or false.
export const skip = executablePath === undefined ? 'no Chromium: apt-get install chromium-headless-shell, or set CHROMIUM' : playwright === null ? 'no playwright-core: npm ci in tests/web' : false;

export async function launch() {
  return playwright.chromium.launch({ executablePath, args: process.getuid() === 0 ? ['--no-sandbox'] : [] });
}

// A page that fails the test by script errors, policy violations or requests to other places. `tolerate`: patterns of
// console errors that belong to the case (a refused request is one).
export async function openPage(browser, url, { context, tolerate = [], path = '', ...options } = {}) {
  const own = context ?? (await browser.newContext({ viewport: { width: 1024, height: 768 }, ...options }));
  own.setDefaultTimeout(WAIT_MS);
  const page = await own.newPage();
  page.problems = [];
  page.on('pageerror', (error) => page.problems.push(`error: ${error}`));
  page.on('dialog', (dialog) => {
    page.problems.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on('console', (message) => {
    if (!['error', 'warning'].includes(message.type()) || tolerate.some((pattern) => pattern.test(message.text()))) return;
    page.problems.push(`console: ${message.text()}`);
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith('blob:')) page.problems.push(`request: ${request.url()}`);
  });
  await page.goto(url + path);
  return page;
}

export function settled(page) {
  assert.deepEqual(page.problems, []);
}

export async function say(page, text) {
  await page.fill('#prompt', text);
  await page.press('#prompt', 'Enter');
}

// Waits for the end of the last answer; returns its text.
export async function answered(page, timeout = WAIT_MS) {
  await page.locator('#send:not(.busy)').waitFor({ timeout });
  return page.locator('.answer').last().locator('.prose').innerText();
}

export async function shot(page, name) {
  if (!process.env.SHOTS) return;
  mkdirSync(process.env.SHOTS, { recursive: true });
  await page.screenshot({ path: join(process.env.SHOTS, `${name}.png`) });
}

const AXE = skip ? '' : readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

// What axe-core finds (WCAG 2.2 A and AA, and its best practices), as short lines.
export async function axe(page) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 120)).join(' | ')}`);
}

// True if nothing is wider than the window.
export function fits(page) {
  return page.evaluate(() => document.documentElement.scrollWidth <= innerWidth && document.querySelector('#scroller').scrollWidth <= document.querySelector('#scroller').clientWidth);
}

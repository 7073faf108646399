// SPDX-License-Identifier: Apache-2.0
// The page as `baltoro serve` gives it, with the bundled model behind it. BALTORO=path of the program.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { answered, launch, openPage, say, settled, shot, skip } from './browser.mjs';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../..');
const program = process.env.BALTORO;

async function serve(...more) {
  const child = spawn(program, ['serve', join(ROOT, 'models/ledger'), '--port', '0', '--api-key', 'k', ...more], { stdio: ['ignore', 'pipe', 'ignore'] });
  let line = '';
  for await (const piece of child.stdout) {
    line += piece;
    if (line.includes('\n')) break;
  }
  return { child, url: /http:\/\/127\.0\.0\.1:\d+\//.exec(line)[0] };
}

test('the bundled model follows its ledger through the page', { skip: skip || (program === undefined && 'BALTORO is not set') }, async () => {
  const { child, url } = await serve();
  const browser = await launch();
  try {
    const page = await openPage(browser, url, { tolerate: [/401/] });
    await page.locator('.notice').getByRole('button', { name: 'Enter a key' }).click();
    await page.fill('#key', 'k');
    await page.fill('#tools', readFileSync(join(ROOT, 'examples/ledger/tools.json'), 'utf8'));
    await page.fill('#temperature', '0');
    await page.keyboard.press('Escape');
    await page.locator('#model', { hasText: 'ledger' }).waitFor();
    await say(page, 'Start at AIR and follow 3 hops. What is the sum of the values?');
    let calls = 0;
    for (;;) {
      await answered(page);
      const field = page.locator('.results ~ *, .call textarea').last();
      if ((await page.locator('.call textarea').count()) === 0) break;
      calls += 1;
      assert.ok(calls <= 10, 'the model goes on calling');
      const given = JSON.parse(await page.locator('.call').last().locator('pre').first().innerText());
      await field.fill(execFileSync('sh', ['get.sh'], { cwd: join(ROOT, 'examples/ledger'), input: JSON.stringify(given), encoding: 'utf8' }).trim());
      await shot(page, `ledger-call-${calls}`);
      await page.getByRole('button', { name: 'Continue with this result' }).click();
    }
    const text = await answered(page);
    console.log(`${calls} calls, then: ${text} [${(await page.locator('.stats').last().innerText()).replaceAll('\n', ' ')}]`);
    assert.ok(calls >= 3);
    assert.match(text, /\d/);
    assert.match(await page.locator('.stats').last().innerText(), /Prompt \d+ \(\d+ cached\)[^]*Answer \d+[^]*First after/);
    assert.equal(await page.locator('#to-end').isVisible(), false, 'the end is in view');
    await shot(page, 'ledger');
    settled(page);
  } finally {
    await browser.close();
    child.kill();
  }
});

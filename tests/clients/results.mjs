// SPDX-License-Identifier: Apache-2.0
// What passed, failed and was skipped: a table for people, an object for machines.
import util from 'node:util';

const CASE_SECONDS = 600;

// Thrown by a case that cannot run here, with the reason.
export class Skipped extends Error {}

export class Results {
  rows = [];
  notes = [];

  add(suite, name, { error = null, ms = 0, skipped = null }) {
    this.rows.push({ suite, case: name, result: skipped ? 'skipped' : error ? 'failed' : 'ok', ms: Math.round(ms),
                     ...(skipped ? { why: skipped } : {}), ...(error ? { why: util.inspect(error).slice(0, 1500) } : {}) });
    const row = this.rows.at(-1);
    console.log(`${row.result.padEnd(8)}${suite.padEnd(20)} ${name.padEnd(34)} ${String(row.ms).padStart(6)} ms` +
                `${skipped ? `  ${skipped}` : ''}`);
    if (error) console.log(row.why.replace(/^/gm, '    '));
  }
  skip(suite, name, why) { this.add(suite, name, { skipped: why }); }
  note(suite, text) {
    this.notes.push({ suite, text });
    console.log(`        ${suite.padEnd(20)} ${text}`);
  }

  async time(suite, name, run) {
    const started = performance.now();
    let error = null, timer;
    try {
      await Promise.race([run(), new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`no end within ${CASE_SECONDS} s`)), CASE_SECONDS * 1000);
      })]);
    } catch (caught) {
      error = caught ?? new Error('an empty error');
    }
    clearTimeout(timer);
    if (error instanceof Skipped) return this.skip(suite, name, error.message);
    this.add(suite, name, { error, ms: performance.now() - started });
  }

  failed() { return this.rows.some((row) => row.result === 'failed') || !this.rows.some((row) => row.result === 'ok'); }
  summary() { return { node: process.version, rows: this.rows, notes: this.notes }; }

  print() {
    const suites = [...new Set(this.rows.map((row) => row.suite))];
    const count = (suite, result) => this.rows.filter((row) => row.suite === suite && row.result === result).length;
    console.log(`\n${'client'.padEnd(22)}    ok failed skipped`);
    for (const suite of suites) {
      const cells = ['ok', 'failed', 'skipped'].map((result) => String(count(suite, result)).padStart(6)).join(' ');
      console.log(`${suite.padEnd(22)}${cells}`);
    }
    for (const { suite, text } of this.notes) console.log(`${suite}: ${text}`);
  }
}

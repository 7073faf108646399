// SPDX-License-Identifier: Apache-2.0
// A tool call as a card: its name, its arguments as they arrive, and its result or a place to paste one.
import { copyButton, element, icon } from './elements.js';
import { prettyJson } from './pretty.js';
import { appendPlain } from './prose.js';

export class ToolCard {
  #shown = 0;

  constructor(call) {
    this.call = call;
    this.name = element('span', { class: 'call-name' });
    this.code = element('code');
    this.pre = element('pre', { tabindex: '0', dir: 'ltr', 'aria-label': 'Arguments' }, this.code);
    this.foot = element('div', { class: 'call-foot' });
    const head = element('div', { class: 'call-head' }, icon('tool'), this.name, copyButton('Copy arguments', () => this.code.textContent));
    this.element = element('section', { class: 'call', 'aria-label': 'Tool call' }, head, this.pre, this.foot);
    this.update();
  }

  // Shows what came since.
  update() {
    this.name.textContent = this.call.name || '…';
    appendPlain(this.code, this.call.arguments.slice(this.#shown));
    this.#shown = this.call.arguments.length;
  }

  // The call is complete; `result`: its text, or undefined while none is known.
  finish(result) {
    this.update();
    const pretty = prettyJson(this.call.arguments);
    if (pretty !== this.call.arguments) {
      this.code.replaceChildren();
      appendPlain(this.code, pretty);
    }
    if (result === undefined) return;
    const code = element('code');
    appendPlain(code, prettyJson(result));
    const head = element('div', { class: 'call-label' }, 'Result', copyButton('Copy result', () => result));
    this.foot.replaceChildren(head, element('pre', { tabindex: '0', dir: 'ltr', 'aria-label': 'Result' }, code));
  }

  // A field for the result; returns it.
  ask() {
    const field = element('textarea', { rows: '2', class: 'mono', placeholder: 'Paste what the tool returned', spellcheck: 'false' });
    this.foot.replaceChildren(element('label', { class: 'call-label' }, `Result of ${this.call.name}`, field));
    return field;
  }

  lapse() {
    this.foot.replaceChildren(element('p', { class: 'call-label' }, 'Not answered; left out of the conversation.'));
  }
}

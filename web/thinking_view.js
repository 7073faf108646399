// SPDX-License-Identifier: Apache-2.0
// The model's thinking, folded. While closed it costs nothing: the text goes into the page when somebody opens it.
import { element } from './elements.js';
import { appendPlain } from './prose.js';

export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
}

export class ThinkingView {
  #waiting = [];

  constructor() {
    this.summary = element('summary');
    this.body = element('div', { class: 'thinking-body', dir: 'auto', tabindex: '0', role: 'group', 'aria-label': 'Thinking' });
    this.element = element('details', { class: 'thinking', hidden: true, ontoggle: () => this.render() }, this.summary, this.body);
  }

  append(text) {
    this.element.hidden = false;
    this.#waiting.push(text);
  }

  render() {
    if (!this.element.open || this.#waiting.length === 0) return;
    appendPlain(this.body, this.#waiting.splice(0).join(''));
  }

  tick(seconds) {
    this.summary.textContent = `Thinking… ${Math.floor(seconds)} s`;
    this.element.classList.add('live');
  }

  finish(seconds) {
    this.summary.textContent = seconds >= 0.1 ? `Thought for ${duration(seconds)}` : 'Thought briefly';
    this.element.classList.remove('live');
    this.render();
  }
}

// SPDX-License-Identifier: Apache-2.0
// Messages on the page: what the user wrote, and an answer, growing or complete.
import { copyButton, element, iconButton } from './elements.js';
import { Prose, appendPlain } from './prose.js';
import { ThinkingView, duration } from './thinking_view.js';
import { ToolCard } from './tool_card.js';

const LONG_CHARS = 1000;
const number = (value) => value.toLocaleString('en');

// "Prompt 128 (96 cached)", "answer 54 (20 thinking)", "31.0 tokens/s", "first after 0.2 s", as far as known.
export function describeStats(stats) {
  const out = [];
  const part = (name, value, extra, what) => `${name} ${number(value)}${extra ? ` (${number(extra)} ${what})` : ''}`;
  if (stats.prompt !== undefined) out.push(part('Prompt', stats.prompt, stats.cached, 'cached'));
  if (stats.output !== undefined) out.push(part('Answer', stats.output, stats.reasoning, 'thinking'));
  if (stats.rate !== undefined) out.push(`${stats.rate < 100 ? stats.rate.toFixed(1) : number(Math.round(stats.rate))} tokens/s`);
  if (stats.first !== undefined) out.push(`First after ${stats.first < 1 ? `${Math.round(stats.first * 1000)} ms` : duration(stats.first)}`);
  return out;
}

export class UserView {
  constructor(message) {
    this.message = message;
    // A long one scrolls, so the keyboard must reach it.
    const long = message.content.length > LONG_CHARS && { tabindex: '0', role: 'group', 'aria-label': 'Your message' };
    this.text = element('div', { class: 'said', dir: 'auto', ...long });
    appendPlain(this.text, message.content);
    this.actions = element('div', { class: 'actions' }, copyButton('Copy message', () => message.content));
    this.element = element('article', { class: 'message user', 'aria-label': 'You' }, element('h3', { class: 'unseen' }, 'You'), this.text, this.actions);
  }

  // `onEdit` starts to edit this message; null: it cannot be edited now.
  allow({ onEdit }) {
    this.actions.querySelector('.edit')?.remove();
    if (onEdit !== null) this.actions.append(iconButton('edit', 'Edit message', onEdit, { class: 'icon edit' }));
  }

  // A field in place of the text. `done` gets the new text, or null if it was given up.
  edit(done) {
    const field = element('textarea', { 'aria-label': 'Edit your message', rows: '3', value: this.message.content });
    const finish = (text) => {
      form.replaceWith(this.text);
      this.actions.hidden = false;
      done(text);
    };
    const keys = (event) => {
      if (event.key === 'Escape') finish(null);
      else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) form.requestSubmit();
      else return;
      event.preventDefault();
      event.stopPropagation();
    };
    const submit = (event) => {
      event.preventDefault();
      if (field.value.trim() !== '') finish(field.value);
    };
    const cancel = element('button', { type: 'button', class: 'quiet', onclick: () => finish(null) }, 'Cancel');
    const send = element('button', { type: 'submit', class: 'primary' }, 'Send');
    const form = element('form', { class: 'editor', onsubmit: submit, onkeydown: keys }, field, element('div', { class: 'editor-foot' }, cancel, send));
    this.text.replaceWith(form);
    this.actions.hidden = true;
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }
}

export class AnswerView {
  constructor(message) {
    this.message = message;
    this.thinking = new ThinkingView();
    this.body = element('div', { class: 'prose' });
    this.prose = new Prose(this.body);
    this.cards = [];
    this.calls = element('div', { class: 'calls' });
    this.waiting = element('p', { class: 'waiting', hidden: true });
    this.problem = element('div', { class: 'problem', role: 'alert', hidden: true });
    this.stats = element('p', { class: 'stats' });
    this.copy = copyButton('Copy answer', () => message.content);
    this.actions = element('div', { class: 'actions' }, this.copy);
    this.foot = element('footer', { hidden: true }, this.stats, this.actions);
    this.element = element('article', { class: 'message answer', 'aria-label': 'Answer' }, element('h3', { class: 'unseen' }, 'Answer'), this.thinking.element, this.body, this.calls, this.waiting, this.problem, this.foot);
  }

  // ---- while it grows

  take(news, answer) {
    if (news.reasoning !== '') this.thinking.append(news.reasoning);
    if (news.content !== '') this.prose.append(news.content);
    if (news.calls) this.#showCalls(answer.calls);
  }

  // Puts on the page what was taken since. Once a frame.
  render() {
    this.thinking.render();
    this.prose.render();
    for (const card of this.cards) card.update();
  }

  // Once a second.
  tick(answer, now) {
    const began = answer.content !== '' || answer.calls.length > 0;
    if (answer.thinkingSince !== null) this.thinking.tick(answer.thinkingSeconds(now));
    else if (answer.reasoning !== '') this.thinking.finish(answer.thinkingSeconds(now));
    this.waiting.hidden = began || answer.reasoning !== '';
    if (!this.waiting.hidden) this.#wait(answer.progress, (now - answer.times.started) / 1000);
  }

  #wait(progress, seconds) {
    const share = progress === null ? null : progress.done / progress.total;
    const words = share === null ? 'Waiting for the first word' : `Reading the prompt: ${number(progress.done)} of ${number(progress.total)} tokens`;
    const bar = share === null ? null : element('progress', { max: '1', value: share, 'aria-label': 'Prompt read' });
    const since = seconds < 1 ? '' : `, ${Math.floor(seconds)} s`;
    const left = progress?.left === undefined ? '' : `, about ${progress.left < 60 ? `${Math.ceil(progress.left)} s` : duration(progress.left)} left`;
    this.waiting.replaceChildren(element('span', {}, words + since + left), ...(bar ? [bar] : []));
  }

  #showCalls(calls) {
    for (const call of calls.slice(this.cards.length)) {
      const card = new ToolCard(call);
      this.cards.push(card);
      this.calls.append(card.element);
    }
  }

  // ---- when it is complete

  // `results`: call id -> text of those that have one.
  finish(results) {
    const { message } = this;
    this.waiting.hidden = true;
    this.prose.end();
    this.thinking.finish(message.stats.thinking ?? 0);
    for (const card of this.cards) if (!message.calls.includes(card.call)) card.element.remove();
    this.cards = this.cards.filter((card) => message.calls.includes(card.call));
    this.#showCalls(message.calls);
    for (const card of this.cards) card.finish(results.get(card.call.id));
    this.stats.replaceChildren(...describeStats(message.stats).map((part) => element('span', {}, part)));
    if (message.finish === 'length') this.stats.prepend(element('span', { class: 'note' }, 'cut at the token limit'));
    if (message.finish === 'unfinished') this.stats.prepend(element('span', { class: 'note' }, 'not finished'));
    if (message.finish === 'stopped') this.stats.prepend(element('span', { class: 'note' }, 'stopped'));
    this.copy.hidden = message.content === '';
    this.foot.hidden = message.error !== undefined && message.content === '' && message.calls.length === 0;
    return this;
  }

  // A message from the store.
  show(results) {
    if (this.message.reasoning !== '') this.thinking.append(this.message.reasoning);
    this.prose.append(this.message.content);
    return this.finish(results);
  }

  // What can be done with the answer now; null or [] for what cannot. `onResults` gets a map call id -> text.
  allow({ onAgain, onResults, problem }) {
    this.actions.querySelector('.again')?.remove();
    if (onAgain !== null) this.actions.append(iconButton('again', 'Answer again', onAgain, { class: 'icon again' }));
    this.calls.querySelector('form')?.remove();
    const open = this.cards.filter((card) => card.foot.querySelector('pre') === null);
    if (onResults === null) open.forEach((card) => card.lapse());
    else if (open.length > 0) this.#ask(open, onResults);
    this.problem.hidden = problem.length === 0;
    this.problem.replaceChildren(...problem);
  }

  #ask(cards, onResults) {
    const fields = cards.map((card) => card.ask());
    const form = element('form', { class: 'results', onsubmit: submit }, element('button', { type: 'submit', class: 'primary' }, cards.length === 1 ? 'Continue with this result' : 'Continue with these results'));
    function submit(event) {
      event.preventDefault();
      onResults(new Map(cards.map((card, i) => [card.call.id, fields[i].value])));
    }
    this.calls.append(form);
  }
}

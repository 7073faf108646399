// SPDX-License-Identifier: Apache-2.0
// One conversation on the page, and the answer that is being made for it. It goes on while another one is shown.
import { Answer, requestBody, resultsAfter } from './answer.js';
import { announce, element } from './elements.js';
import { AnswerView, UserView } from './message_view.js';
import { ServerError, streamChat } from './server.js';

const SAVE_MS = 5000;
const HEADINGS = {
  unauthorized: 'No access',
  limited: 'Too much at once',
  unavailable: 'Not available now',
  refused: 'This request was refused',
  network: 'No connection',
  cut: 'Connection lost',
  broken: 'The answer failed',
};

// What a thread needs of the page: settings, model() -> id, save(conversation), changed(thread), follow(thread), needKey().
export class Thread {
  #views = []; // as many as messages; null for the results of tools, which stand in their call's card
  #turn = null; // {abort, answer, view, message}

  constructor(conversation, page) {
    this.conversation = conversation;
    this.page = page;
    this.element = element('div', { class: 'thread' });
    this.#draw();
  }

  get busy() {
    return this.#turn !== null;
  }

  get #messages() {
    return this.conversation.messages;
  }

  #draw() {
    this.#views = [];
    this.element.replaceChildren();
    for (let i = 0; i < this.#messages.length; i += 1) this.#view(i);
    this.#offer();
  }

  #view(i) {
    const message = this.#messages[i];
    let view = null;
    if (message.role === 'user') view = new UserView(message);
    if (message.role === 'assistant') view = new AnswerView(message).show(resultsAfter(this.#messages, i));
    this.#views[i] = view;
    if (view !== null) this.element.append(view.element);
  }

  #push(message) {
    this.#messages.push(message);
    this.#view(this.#messages.length - 1);
  }

  #truncate(length) {
    for (const view of this.#views.splice(length)) view?.element.remove();
    this.#messages.length = length;
  }

  // ---- what the user does

  send(text) {
    if (this.busy) return;
    this.#push({ role: 'user', content: text });
    this.#answer();
  }

  stop() {
    this.#turn?.abort.abort();
  }

  again() {
    if (this.busy) return;
    if (this.#messages.at(-1)?.role === 'assistant') this.#truncate(this.#messages.length - 1);
    this.#answer();
  }

  #edit(i) {
    const view = this.#views[i];
    view.edit((text) => {
      if (text === null || this.busy) return this.#offer();
      this.#truncate(i);
      this.send(text);
    });
  }

  #results(i, results) {
    if (this.busy) return;
    for (const [call, content] of results) this.#push({ role: 'tool', call, content });
    this.#views[i].finish(resultsAfter(this.#messages, i));
    this.#answer();
  }

  // Says for each message what can be done with it now.
  #offer() {
    const last = this.#messages.length - 1;
    const lastUser = this.#messages.findLastIndex((message) => message.role === 'user');
    for (const [i, view] of this.#views.entries()) {
      if (view instanceof UserView) view.allow({ onEdit: !this.busy && i === lastUser ? () => this.#edit(i) : null });
      if (!(view instanceof AnswerView) || view === this.#turn?.view) continue;
      const idle = i === last && !this.busy;
      view.allow({
        onAgain: idle ? () => this.again() : null,
        onResults: idle && !view.message.error ? (results) => this.#results(i, results) : null,
        problem: idle && view.message.error ? this.#problem(view.message.error) : [],
      });
    }
    this.page.changed(this);
  }

  #problem({ kind, message, until }) {
    const words = element('p', {}, element('strong', {}, HEADINGS[kind] ?? HEADINGS.broken), message);
    if (kind === 'unauthorized') {
      const enter = element('button', { type: 'button', class: 'primary', onclick: () => this.page.needKey() }, 'Enter a key');
      return [words, enter, this.#retry()];
    }
    const wait = until === undefined ? 0 : Math.ceil((until - Date.now()) / 1000);
    return [words, this.#retry(wait)];
  }

  // A button that counts down to when the server wants to be asked again.
  #retry(wait = 0) {
    const button = element('button', { type: 'button', class: 'quiet retry', onclick: () => this.again() }, 'Try again');
    const count = (left) => {
      button.disabled = left > 0;
      button.textContent = left > 0 ? `Try again in ${left} s` : 'Try again';
      if (left > 0) setTimeout(() => count(left - 1), 1000);
    };
    count(wait);
    return button;
  }

  // ---- the answer

  #answer() {
    const message = { role: 'assistant', content: '', reasoning: '', calls: [], stats: {}, finish: 'unfinished' };
    const body = requestBody(this.#messages, this.page.settings.values, this.page.model(), this.page.settings.tools);
    const view = new AnswerView(message);
    this.#messages.push(message);
    this.#views.push(view);
    this.element.append(view.element);
    this.#turn = { abort: new AbortController(), answer: new Answer(performance.now()), view, message };
    this.#offer();
    this.page.save(this.conversation);
    this.page.follow(this);
    this.#run(body, this.#turn);
  }

  async #run(body, turn) {
    const { answer, view, abort } = turn;
    const frames = new Frames(() => view.render());
    const tick = () => view.tick(answer, performance.now());
    const clock = setInterval(tick, 1000);
    const saver = setInterval(() => this.#keep(turn), SAVE_MS);
    tick();
    let failure = null;
    let said = '';
    try {
      await streamChat({
        body,
        key: this.page.settings.key,
        signal: abort.signal,
        onChunk: (chunk) => {
          const news = answer.take(chunk, performance.now());
          view.take(news, answer);
          frames.ask();
          const stage = answer.content !== '' ? 'Answering' : answer.reasoning !== '' ? 'Thinking' : said;
          if (stage !== said) tick();
          if (stage !== said) announce(stage);
          said = stage;
        },
        onProgress: (progress) => {
          answer.progress = progress;
          tick();
        },
      });
    } catch (error) {
      failure = error;
    }
    clearInterval(clock);
    clearInterval(saver);
    frames.cancel();
    this.#finish(turn, failure);
  }

  // Copies what has come into the message.
  #keep({ answer, message }, save = true) {
    message.content = answer.content;
    message.reasoning = answer.reasoning;
    message.calls = answer.calls;
    message.stats = answer.stats();
    if (save) this.page.save(this.conversation);
  }

  #finish(turn, failure) {
    const { answer, message, view } = turn;
    answer.end(performance.now());
    this.#keep(turn, false);
    this.#turn = null;
    message.finish = answer.finish ?? '';
    if (failure?.name === 'AbortError') message.finish = 'stopped';
    else if (failure !== null) message.error = describe(failure);
    if (message.finish === 'stopped') message.calls = message.calls.filter((call) => call.id !== '' && isJson(call.arguments));
    view.finish(new Map());
    this.#offer();
    announce(message.error?.message ?? spoken(message));
    this.page.save(this.conversation);
  }

  // The page is about to close.
  keep() {
    if (this.#turn !== null) this.#keep(this.#turn);
  }
}

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function describe(error) {
  if (!(error instanceof ServerError)) {
    console.error(error);
    return { kind: 'page', message: `The page failed: ${error.message}` };
  }
  const out = { kind: error.kind, message: error.message };
  if (error.seconds !== null) out.until = Date.now() + error.seconds * 1000;
  return out;
}

// What a screen reader hears at the end: short answers whole, long ones not.
function spoken({ content, calls, finish }) {
  if (finish === 'stopped') return 'Stopped';
  if (calls.length > 0) return `The model calls ${calls.map((call) => call.name).join(', ')}`;
  return content.length <= 400 ? `Answer: ${content}` : 'The answer is complete';
}

// Draws at most once a frame, and less often when drawing is slow: never more than about a fifth of the time.
class Frames {
  #frame = 0;
  #timer = 0;
  #cost = 0;

  constructor(draw) {
    this.draw = draw;
  }

  ask() {
    if (this.#frame !== 0 || this.#timer !== 0) return;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.#frame = requestAnimationFrame(() => {
        this.#frame = 0;
        const started = performance.now();
        this.draw();
        this.#cost = performance.now() - started;
      });
    }, Math.min(this.#cost * 4, 1000));
  }

  cancel() {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
  }
}

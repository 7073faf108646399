// SPDX-License-Identifier: Apache-2.0
// The page put together: which conversation is shown, the message box, scrolling, theme, other tabs.
import { announce, byId, element, setIcon } from './elements.js';
import { fetchModels } from './server.js';
import { Settings, summarize } from './settings.js';
import { SettingsView } from './settings_view.js';
import { Sidebar } from './sidebar.js';
import { Store, StoreError, newConversation, titleOf } from './store.js';
import { Thread } from './thread.js';

function storage(name) {
  try {
    const found = window[name];
    found.getItem('baltoro');
    return found;
  } catch {
    return null;
  }
}

class Page {
  store = new Store(storage('localStorage'));
  settings = new Settings(storage('localStorage'), storage('sessionStorage'));
  #threads = new Map(); // the shown one and those that are at work
  #thread = null;
  #models = [];
  #stuck = true; // the end is in view and stays so
  #lastTop = 0;

  constructor() {
    this.settingsView = new SettingsView(this);
    this.sidebar = new Sidebar(this);
    this.#composer();
    this.#scrolling();
    this.#theme();
    setIcon(byId('open-settings'), 'settings', 'Settings');
    byId('open-settings').onclick = () => this.settingsView.open();
    byId('summary').onclick = () => this.settingsView.open();
    window.addEventListener('hashchange', () => this.#route());
    window.addEventListener('storage', (event) => this.#otherTab(event));
    window.addEventListener('pagehide', () => this.#threads.forEach((thread) => thread.keep()));
    if (this.store.damaged > 0) this.notice('A saved conversation cannot be read; it is left as it is.');
    this.settingsChanged();
    this.keyChanged();
    this.#route();
  }

  // ---- which conversation

  current() {
    return this.#thread.conversation.id;
  }
  working(id) {
    return this.#threads.get(id)?.busy ?? false;
  }

  #route() {
    const id = location.hash.slice(1);
    if (this.#thread !== null && id === this.current()) return;
    const conversation = this.#threads.get(id)?.conversation ?? (id === '' ? null : this.store.load(id));
    this.#show(conversation ?? newConversation());
  }

  open(id) {
    location.hash = id;
    this.sidebar.done();
  }

  create() {
    if (this.#thread.conversation.messages.length > 0) {
      history.pushState(null, '', location.pathname);
      this.#show(newConversation());
    }
    this.sidebar.done();
    byId('prompt').focus();
  }

  #show(conversation) {
    const thread = this.#threads.get(conversation.id) ?? new Thread(conversation, this);
    for (const [id, other] of this.#threads) if (!other.busy && other !== thread) this.#threads.delete(id);
    this.#threads.set(conversation.id, thread);
    this.#thread = thread;
    byId('scroller').replaceChildren(thread.element);
    this.#grown.disconnect();
    this.#grown.observe(thread.element);
    this.#stuck = true;
    this.#toEnd();
    this.changed();
  }

  removed(id) {
    this.#threads.get(id)?.stop();
    this.#threads.delete(id);
    this.store.remove(id);
    if (this.current() === id) {
      history.replaceState(null, '', location.pathname);
      this.#show(newConversation());
    } else {
      this.changed();
    }
  }

  rename(id, title) {
    const thread = this.#threads.get(id);
    if (thread === undefined) return this.store.rename(id, title);
    thread.conversation.title = title.trim().slice(0, 200);
    this.save(thread.conversation);
  }

  // ---- what threads ask for

  model() {
    return this.#models[0]?.id ?? '';
  }

  save(conversation) {
    const before = conversation.id;
    const thread = this.#threads.get(before);
    if (thread === undefined) return; // deleted meanwhile
    try {
      if (this.store.save(conversation)) {
        this.#threads.delete(before);
        this.#threads.set(conversation.id, thread);
        this.notice('Another tab changed this conversation; what you see here goes on as a copy.');
      }
      this.#notice('store', '');
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      this.#notice('store', error.message);
    }
    if (thread === this.#thread && location.hash.slice(1) !== conversation.id) history.replaceState(null, '', `#${conversation.id}`);
    this.changed();
  }

  // Something about a thread or the list is different now.
  changed(thread = this.#thread) {
    if (this.#thread === null) return;
    this.sidebar.draw();
    if (thread !== this.#thread) return;
    const { conversation, busy } = this.#thread;
    const empty = conversation.messages.length === 0;
    const title = titleOf(conversation);
    byId('title').textContent = title;
    document.title = empty ? 'Baltoro' : `${title} – Baltoro`;
    document.body.classList.toggle('empty', empty);
    if (empty !== (this.#thread.element.querySelector('.welcome') !== null)) this.#welcome(empty);
    setIcon(byId('send'), busy ? 'stop' : 'send', busy ? 'Stop' : 'Send');
    byId('send').classList.toggle('busy', busy);
    byId('send').disabled = !busy && byId('prompt').value.trim() === '';
  }

  #welcome(on) {
    if (on) this.#thread.element.append(element('div', { class: 'welcome' }, element('p', { class: 'welcome-title' }, 'What is on your mind?'), element('p', {}, 'Enter sends, Shift and Enter makes a new line, Escape stops an answer.')));
    else this.#thread.element.querySelector('.welcome').remove();
  }

  // An answer begins: its end is followed, and the keyboard is not left on a button that went away.
  follow(thread) {
    if (thread !== this.#thread) return;
    this.#stuck = true;
    this.#toEnd();
    if (document.activeElement === document.body) byId('prompt').focus();
  }

  needKey() {
    this.settingsView.open('key');
  }

  // ---- notices

  notice(text) {
    this.#notice(`${Date.now()}`, text);
  }

  // A line above the conversation that can be closed; another one of the same name takes its place.
  #notice(name, text) {
    const known = byId('notices').querySelector(`[data-name="${CSS.escape(name)}"]`);
    if (known?.firstChild.textContent === text) return;
    known?.remove();
    if (text === '') return;
    const line = element('div', { class: 'notice', 'data-name': name }, element('span', {}, text));
    const close = element('button', { type: 'button', class: 'icon', onclick: () => line.remove() });
    setIcon(close, 'close', 'Dismiss');
    line.append(close);
    byId('notices').append(line);
    while (byId('notices').childElementCount > 3) byId('notices').firstElementChild.remove();
  }

  // ---- settings and key

  settingsChanged() {
    byId('summary').textContent = summarize(this.settings.values, this.settings.tools.length) || 'Settings';
  }

  async keyChanged() {
    try {
      this.#models = await fetchModels(this.settings.key);
      const [model] = this.#models;
      const context = model?.context_length ? ` · ${model.context_length.toLocaleString('en')} tokens` : '';
      byId('model').replaceChildren(model?.id ?? '', element('span', { class: 'roomy' }, context));
      this.#notice('server', '');
    } catch (error) {
      byId('model').textContent = '';
      if (error.kind !== 'unauthorized') return this.#notice('server', error.message);
      this.#notice('server', this.settings.key === '' ? 'This server needs an API key.' : 'The server does not accept this API key.');
      const line = byId('notices').querySelector('[data-name=server]');
      if (line.querySelector('.link') === null) line.lastChild.before(element('button', { type: 'button', class: 'link', onclick: () => this.needKey() }, 'Enter a key'));
    }
  }

  // ---- message box

  #composer() {
    const prompt = byId('prompt');
    const fit = () => {
      prompt.style.height = 'auto';
      prompt.style.height = `${Math.min(prompt.scrollHeight, innerHeight * 0.4)}px`;
      byId('send').disabled = !this.#thread?.busy && prompt.value.trim() === '';
    };
    prompt.oninput = fit;
    prompt.onkeydown = (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      if (!this.#thread.busy) byId('composer').requestSubmit();
    };
    byId('composer').onsubmit = (event) => {
      event.preventDefault();
      if (this.#thread.busy) return this.#thread.stop();
      if (prompt.value.trim() === '') return;
      const text = prompt.value;
      prompt.value = '';
      fit();
      this.#thread.send(text);
    };
    document.addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || event.defaultPrevented || document.querySelector('dialog[open]')) return;
      if (this.#thread.busy) this.#thread.stop();
    });
    prompt.focus();
  }

  // ---- scrolling: the end stays in view unless the reader went up

  #grown = new ResizeObserver(() => this.#toEnd());

  #scrolling() {
    const scroller = byId('scroller');
    scroller.addEventListener('scroll', () => {
      // Only a move up is the reader's: text that grew since the last move down opens a gap, too.
      const top = scroller.scrollTop;
      if (scroller.scrollHeight - top - scroller.clientHeight < 48) this.#stuck = true;
      else if (top < this.#lastTop) this.#stuck = false;
      this.#lastTop = top;
      byId('to-end').hidden = this.#stuck;
    }, { passive: true });
    byId('to-end').onclick = () => {
      this.#stuck = true;
      this.#toEnd();
      byId('prompt').focus();
    };
    new ResizeObserver(() => this.#toEnd()).observe(scroller);
  }

  #toEnd() {
    if (this.#stuck) byId('scroller').scrollTop = byId('scroller').scrollHeight;
  }

  // ---- theme: the system's, light, dark

  #theme() {
    const local = storage('localStorage');
    const names = ['auto', 'light', 'dark'];
    const label = { auto: 'Theme: as the system', light: 'Theme: light', dark: 'Theme: dark' };
    const show = () => setIcon(byId('theme'), document.documentElement.dataset.theme ?? 'auto', label[document.documentElement.dataset.theme ?? 'auto']);
    byId('theme').onclick = () => {
      const next = names[(names.indexOf(document.documentElement.dataset.theme ?? 'auto') + 1) % names.length];
      if (next === 'auto') delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = next;
      show();
      announce(label[next]);
      try {
        local?.setItem('baltoro.theme', next);
      } catch {
        // It holds for this page.
      }
    };
    show();
  }

  // ---- other tabs

  #otherTab({ key, newValue }) {
    if (key === null) return location.reload();
    if (Settings.isKey(key)) {
      this.settings.reload();
      return this.settingsChanged();
    }
    const id = this.store.refresh(key);
    if (id === null) return;
    const shown = id === this.current() && !this.#thread.busy;
    if (shown && newValue !== null) {
      const conversation = this.store.load(id);
      this.#threads.delete(id);
      if (conversation !== null) return this.#show(conversation);
    }
    this.changed();
  }
}

new Page();

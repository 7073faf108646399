// SPDX-License-Identifier: Apache-2.0
// The list of conversations: open, rename, delete, export, import. On narrow screens it is a drawer.
import { announce, byId, element, iconButton, setIcon } from './elements.js';
import { StoreError } from './store.js';

const MAX_FILE_BYTES = 20 * 1024 * 1024;

// Asks before something that cannot be taken back.
export function confirmed(question, verb) {
  const dialog = byId('confirm');
  byId('confirm-text').textContent = question;
  byId('confirm-yes').textContent = verb;
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}

export class Sidebar {
  #narrow = matchMedia('(max-width: 859px)');
  #renaming = false;

  // `page`: {store, current() -> id, working(id) -> bool, open(id), create(), removed(id), notice(text), changed()}
  constructor(page) {
    this.page = page;
    setIcon(byId('toggle-list'), 'list', 'Conversations');
    byId('toggle-list').onclick = () => this.show(document.body.classList.contains('no-list'));
    byId('new-chat').onclick = () => page.create();
    byId('shade').onclick = () => this.show(false);
    byId('export').onclick = () => this.#export();
    byId('import').onclick = () => byId('import-file').click();
    byId('import-file').onchange = () => this.#import();
    byId('sidebar').addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || !this.#narrow.matches) return;
      event.preventDefault(); // it stops no answer then
      this.show(false);
    });
    this.#narrow.onchange = () => this.show(!this.#narrow.matches);
    this.show(!this.#narrow.matches);
  }

  show(on) {
    document.body.classList.toggle('no-list', !on);
    byId('toggle-list').setAttribute('aria-expanded', String(on));
    byId('sidebar').inert = !on;
    const drawer = on && this.#narrow.matches;
    byId('shade').hidden = !drawer;
    byId('stage').inert = drawer;
    if (drawer) byId('new-chat').focus();
    else if (this.#narrow.matches && byId('sidebar').contains(document.activeElement)) byId('toggle-list').focus();
  }

  // After something was chosen: a drawer makes room.
  done() {
    if (this.#narrow.matches) this.show(false);
  }

  draw() {
    if (this.#renaming) return;
    const current = this.page.current();
    const focused = document.activeElement?.dataset?.id;
    byId('list').replaceChildren(...this.page.store.list().map((entry) => this.#item(entry, entry.id === current)));
    if (focused) byId('list').querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();
  }

  #item({ id, title }, current) {
    const open = element('button', { type: 'button', class: 'open', 'data-id': id, title, 'aria-current': current && 'page', onclick: () => this.page.open(id) }, title);
    const item = element('li', { class: this.page.working(id) ? 'working' : null }, open);
    item.append(
      iconButton('edit', `Rename: ${title}`, () => this.#rename(id, title, item), { class: 'icon small' }),
      iconButton('remove', `Delete: ${title}`, () => this.#remove(id, title), { class: 'icon small' }),
    );
    return item;
  }

  #rename(id, title, item) {
    const field = element('input', { type: 'text', 'aria-label': 'Title', value: title, maxlength: '200' });
    const finish = (keep) => {
      if (!this.#renaming) return;
      this.#renaming = false;
      if (keep && field.value.trim() !== title) this.#try(() => this.page.rename(id, field.value));
      this.page.changed();
      byId('list').querySelector(`[data-id="${CSS.escape(id)}"]`)?.focus();
    };
    field.onkeydown = (event) => {
      if (event.isComposing || (event.key !== 'Enter' && event.key !== 'Escape')) return;
      event.stopPropagation();
      finish(event.key === 'Enter');
    };
    field.onblur = () => finish(true);
    this.#renaming = true;
    item.replaceChildren(field);
    field.select();
  }

  async #remove(id, title) {
    if (!(await confirmed(`Delete “${title}”?`, 'Delete'))) return;
    this.page.removed(id);
    announce('Deleted');
    (byId('list').querySelector('.open') ?? byId('new-chat')).focus();
  }

  #try(action) {
    try {
      return action();
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      this.page.notice(error.message);
      return null;
    }
  }

  #export() {
    const url = URL.createObjectURL(new Blob([this.page.store.exportText()], { type: 'application/json' }));
    const day = new Date().toISOString().slice(0, 10);
    element('a', { href: url, download: `baltoro-conversations-${day}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }

  async #import() {
    const [file] = byId('import-file').files;
    byId('import-file').value = '';
    if (file === undefined) return;
    if (file.size > MAX_FILE_BYTES) return this.page.notice('The file is larger than 20 MB.');
    const text = await file.text();
    const count = this.#try(() => this.page.store.importText(text));
    if (count !== null) this.page.notice(count === 1 ? '1 conversation imported.' : `${count} conversations imported.`);
    this.page.changed();
  }
}

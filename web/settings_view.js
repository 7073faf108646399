// SPDX-License-Identifier: Apache-2.0
// The settings' dialog. What is typed holds at once; a field that holds nonsense says so and keeps the last value.
import { byId, setIcon } from './elements.js';
import { readNumber, readTools } from './settings.js';

const NUMBERS = ['temperature', 'top_p', 'max_tokens', 'seed'];

export class SettingsView {
  // `page`: {settings, settingsChanged(), keyChanged()}
  constructor(page) {
    this.page = page;
    this.dialog = byId('settings');
    setIcon(byId('close-settings'), 'close', 'Close');
    for (const name of NUMBERS) byId(name).oninput = () => this.#number(name);
    for (const name of ['system', 'thinking', 'tools']) byId(name).oninput = () => this.#text(name);
    byId('key').oninput = () => page.settings.setKey(byId('key').value);
    byId('key').onchange = () => page.keyChanged();
    byId('reset').onclick = () => {
      page.settings.reset();
      this.fill();
      page.settingsChanged();
    };
    this.dialog.addEventListener('click', (event) => {
      if (event.target === this.dialog) this.dialog.close();
    });
  }

  open(field = null) {
    this.fill();
    this.dialog.showModal();
    if (field !== null) byId(field).focus();
  }

  fill() {
    const { values, key } = this.page.settings;
    for (const name of NUMBERS) {
      byId(name).value = values[name] ?? '';
      byId(name).setCustomValidity('');
    }
    for (const name of ['system', 'thinking', 'tools']) byId(name).value = values[name];
    byId('key').value = key;
    this.#toolsState();
  }

  #number(name) {
    const field = byId(name);
    const value = field.validity.badInput ? undefined : readNumber(name, field.value);
    field.setCustomValidity(value === undefined ? 'This value is not accepted.' : '');
    field.setAttribute('aria-invalid', String(value === undefined));
    if (value !== undefined) this.#set(name, value);
  }

  #text(name) {
    this.#set(name, byId(name).value);
    if (name === 'tools') this.#toolsState();
  }

  #set(name, value) {
    this.page.settings.set(name, value);
    this.page.settingsChanged();
  }

  #toolsState() {
    const { tools, error } = readTools(byId('tools').value);
    const state = byId('tools-state');
    state.classList.toggle('bad', error !== undefined);
    byId('tools').setAttribute('aria-invalid', String(error !== undefined));
    state.textContent = error ?? (tools.length === 0 ? 'No tools. The model can only talk.' : `Declared: ${tools.map((tool) => tool.function.name).join(', ')}`);
  }
}

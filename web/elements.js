// SPDX-License-Identifier: Apache-2.0
// Small ways to make elements. Text only ever becomes text nodes.

// element('button', {class: 'quiet', type: 'button', onclick: f, 'aria-label': 'x', hidden: true}, 'text', node, null)
export function element(name, attributes = {}, ...children) {
  const out = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) out.addEventListener(key.slice(2), value);
    else if (key === 'value') out.value = value;
    else out.setAttribute(key, value === true ? '' : value);
  }
  out.append(...children.filter((child) => child !== null && child !== undefined));
  return out;
}

const ICONS = {
  send: 'M12 20V5M5.5 11.500 12 5l6.500 6.500',
  stop: 'M7 7h10v10H7z',
  list: 'M4 7h16M4 12h16M4 17h10',
  settings: 'M4 8h9M19 8h1M4 16h1M11 16h9M16 5.500v5M8 13.500v5',
  close: 'M6 6l12 12M18 6 6 18',
  copy: 'M9 9h10v11H9zM15 9V4H5v11h4',
  done: 'M5 12.500 10 17.500 19.500 7',
  again: 'M19.500 12a7.500 7.500 0 1 1-2.200-5.300M19.500 3.500v4h-4',
  edit: 'M5 19l1-4L16.500 4.500l3 3L9 18zM14 7l3 3',
  remove: 'M5 7h14M9 7V4.500h6V7M7 7l1 13h8l1-13',
  tool: 'M9 5 4 12l5 7M15 5l5 7-5 7',
  more: 'M5 12h14M13 6l6 6-6 6',
  light: 'M12 8a4 4 0 1 1 0 8 4 4 0 0 1 0-8M12 3v2M12 19v2M3 12h2M19 12h2M5.600 5.600 7 7M17 17l1.400 1.400M5.600 18.400 7 17M17 7l1.400-1.400',
  dark: 'M19.500 14.500A8 8 0 0 1 9.500 4.500a8 8 0 1 0 10 10z',
  auto: 'M12 4a8 8 0 1 1 0 16zM12 4a8 8 0 1 0 0 16',
};

export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('class', `glyph ${name}`);
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

export const byId = (id) => document.getElementById(id);

// A button that shows an icon; `label` is what it is called and its tooltip.
export function iconButton(name, label, onclick, attributes = {}) {
  return element('button', { type: 'button', class: 'icon', 'aria-label': label, title: label, onclick, ...attributes }, icon(name));
}

export function setIcon(button, name, label) {
  button.replaceChildren(icon(name));
  button.setAttribute('aria-label', label);
  button.title = label;
}

// Says something to screen readers. Called for what matters, never for each word.
export function announce(text) {
  byId('live').textContent = text;
}

// Copies, also where the clipboard interface is missing (pages over plain HTTP from other machines).
export async function copyText(text) {
  if (navigator.clipboard !== undefined) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Not allowed: the old way may be.
    }
  }
  const area = element('textarea', { class: 'unseen', value: text });
  const focused = document.activeElement;
  document.body.append(area);
  area.select();
  const copied = document.execCommand('copy');
  area.remove();
  focused?.focus();
  return copied;
}

// A button that copies what `text()` gives and says so for a moment.
export function copyButton(label, text) {
  const button = iconButton('copy', label, async () => {
    const copied = await copyText(text());
    setIcon(button, copied ? 'done' : 'close', copied ? 'Copied' : 'Could not copy');
    announce(copied ? 'Copied' : 'Could not copy');
    setTimeout(() => setIcon(button, 'copy', label), 1500);
  });
  return button;
}

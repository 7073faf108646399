// SPDX-License-Identifier: Apache-2.0
// Conversations in the browser's store, one entry each, so that tabs do not write over each other's. What cannot be
// read is left where it is and never shown. Nothing is thrown away to make room: a full store is an error.

const PREFIX = 'baltoro.chat.';
const MAX_TOTAL_CHARS = 4_500_000; // browsers give about 5 million
const MAX_CONVERSATIONS = 500;
const MAX_MESSAGES = 5000;
const FORMAT = 'baltoro-conversations';

export function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(36).padStart(2, '0')).join('');
}

export function newConversation() {
  return { id: newId(), rev: 0, title: '', updated: Date.now(), messages: [] };
}

export function titleOf(conversation) {
  if (conversation.title !== '') return conversation.title;
  const first = conversation.messages.find((message) => message.role === 'user');
  const line = (first?.content ?? '').trim().split('\n', 1)[0];
  return line.length > 80 ? line.slice(0, 79).trimEnd() + '…' : line || 'New conversation';
}

const text = (value) => (typeof value === 'string' ? value : '');

function cleanCall(value) {
  if (typeof value?.id !== 'string' || typeof value.name !== 'string') return null;
  return { id: value.id, name: value.name, arguments: text(value.arguments) };
}

function cleanStats(value) {
  const out = {};
  for (const name of ['prompt', 'cached', 'output', 'reasoning', 'first', 'thinking', 'rate']) {
    if (Number.isFinite(value?.[name]) && value[name] >= 0) out[name] = value[name];
  }
  return out;
}

function cleanMessage(value) {
  if (value === null || typeof value !== 'object') return null;
  if (value.role === 'user') return { role: 'user', content: text(value.content) };
  if (value.role === 'tool') return typeof value.call === 'string' ? { role: 'tool', call: value.call, content: text(value.content) } : null;
  if (value.role !== 'assistant') return null;
  const calls = Array.isArray(value.calls) ? value.calls.map(cleanCall) : [];
  if (calls.includes(null)) return null;
  const out = { role: 'assistant', content: text(value.content), reasoning: text(value.reasoning), calls, stats: cleanStats(value.stats), finish: text(value.finish) };
  if (typeof value.error?.message === 'string') out.error = { kind: text(value.error.kind), message: value.error.message.slice(0, 2000) };
  return out;
}

// A conversation from outside with exactly the fields that we know, or null if it is none.
export function cleanConversation(value) {
  if (value === null || typeof value !== 'object' || !/^[a-z0-9]{1,40}$/.test(text(value.id))) return null;
  if (!Array.isArray(value.messages) || value.messages.length > MAX_MESSAGES) return null;
  const messages = value.messages.map(cleanMessage);
  if (messages.includes(null)) return null;
  const rev = Number.isSafeInteger(value.rev) && value.rev >= 0 ? value.rev : 0;
  const updated = Number.isFinite(value.updated) ? Math.min(Math.max(value.updated, 0), 8e15) : 0;
  return { id: value.id, rev, title: text(value.title).slice(0, 200), updated, messages };
}

function parse(raw) {
  try {
    return cleanConversation(JSON.parse(raw));
  } catch {
    return null;
  }
}

// `storage`: localStorage, or null where there is none (then nothing is kept). Errors are thrown as StoreError.
export class StoreError extends Error {}

export class Store {
  #storage;
  #index = new Map(); // id -> {id, title, updated, chars}
  damaged = 0;

  constructor(storage) {
    this.#storage = storage;
    for (const key of this.#keys()) this.refresh(key);
  }

  #keys() {
    const out = [];
    for (let i = 0; i < (this.#storage?.length ?? 0); i += 1) {
      const key = this.#storage.key(i);
      if (key.startsWith(PREFIX)) out.push(key);
    }
    return out;
  }

  // Reads an entry again, after another tab changed it. Returns its id, or null if the key is none of ours.
  refresh(key) {
    if (!key.startsWith(PREFIX)) return null;
    const id = key.slice(PREFIX.length);
    const raw = this.#storage.getItem(key);
    const conversation = raw === null ? null : parse(raw);
    if (conversation !== null && conversation.id === id) this.#remember(conversation, raw.length);
    else this.#index.delete(id);
    if (raw !== null && !this.#index.has(id)) this.damaged += 1;
    return id;
  }

  #remember(conversation, chars) {
    const { id, updated } = conversation;
    this.#index.set(id, { id, updated, title: titleOf(conversation), chars });
  }

  // The newest first.
  list() {
    return [...this.#index.values()].sort((a, b) => b.updated - a.updated);
  }

  load(id) {
    const raw = this.#storage?.getItem(PREFIX + id) ?? null;
    return raw === null ? null : parse(raw);
  }

  // Writes a conversation. If another tab wrote or removed it since it was read, it is kept beside, under a new id that
  // the conversation then has; returns true if so.
  save(conversation) {
    if (this.#storage === null) throw new StoreError('This browser keeps nothing for this page: conversations end with the tab.');
    const stored = this.load(conversation.id);
    const forked = (stored?.rev ?? 0) !== conversation.rev;
    const id = forked ? newId() : conversation.id;
    const next = { ...conversation, id, rev: forked ? 1 : conversation.rev + 1, updated: Date.now() };
    this.#write(next);
    Object.assign(conversation, { id, rev: next.rev, updated: next.updated });
    return forked;
  }

  #write(conversation) {
    const raw = JSON.stringify(conversation);
    const known = this.#index.get(conversation.id);
    let total = raw.length - (known?.chars ?? 0);
    for (const entry of this.#index.values()) total += entry.chars;
    if (total > MAX_TOTAL_CHARS || (known === undefined && this.#index.size >= MAX_CONVERSATIONS)) throw this.#full();
    try {
      this.#storage.setItem(PREFIX + conversation.id, raw);
    } catch {
      throw this.#full();
    }
    this.#remember(conversation, raw.length);
  }

  #full() {
    return new StoreError('The browser has no room for more conversations: export them and delete some. This one is not kept.');
  }

  remove(id) {
    this.#storage?.removeItem(PREFIX + id);
    this.#index.delete(id);
  }

  rename(id, title) {
    const conversation = this.load(id);
    if (conversation === null) return;
    conversation.title = title.trim().slice(0, 200);
    this.save(conversation);
  }

  exportText() {
    const conversations = this.list().map(({ id }) => this.load(id)).filter((conversation) => conversation !== null);
    return JSON.stringify({ format: FORMAT, version: 1, conversations }, null, 1);
  }

  // Adds the conversations of an exported file; none replaces one that is here. Returns how many came in.
  importText(raw) {
    let file;
    try {
      file = JSON.parse(raw);
    } catch {
      throw new StoreError('The file is not JSON.');
    }
    if (file?.format !== FORMAT || file.version !== 1 || !Array.isArray(file.conversations)) {
      throw new StoreError('The file holds no conversations of this page.');
    }
    const conversations = file.conversations.slice(0, MAX_CONVERSATIONS + 1).map(cleanConversation);
    if (conversations.includes(null)) throw new StoreError('A conversation in the file is damaged; nothing was imported.');
    for (const conversation of conversations) {
      const id = this.#index.has(conversation.id) ? newId() : conversation.id;
      this.#write({ ...conversation, id, rev: 1 });
    }
    return conversations.length;
  }
}

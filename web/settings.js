// SPDX-License-Identifier: Apache-2.0
// What the user chose. Kept for all tabs, but for the API key, which lives as long as its tab.

const KEY = 'baltoro.settings';
const API_KEY = 'baltoro.key';
export const DEFAULTS = { system: '', temperature: null, top_p: null, max_tokens: null, seed: null, thinking: '', tools: '' };
const RANGES = { temperature: [0, 2], top_p: [0, 1], max_tokens: [1, 1e9], seed: [-Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER] };
const WHOLE = new Set(['max_tokens', 'seed']);
const MAX_TEXT = 200_000;

// A field's text as a number within its range, null for "not set", undefined for something else.
export function readNumber(name, text) {
  if (text.trim() === '') return null;
  const value = Number(text);
  const [low, high] = RANGES[name];
  if (!Number.isFinite(value) || value < low || value > high || (WHOLE.has(name) && !Number.isInteger(value))) return undefined;
  return value;
}

// Settings from the store, whatever is in there.
export function cleanSettings(value) {
  const out = { ...DEFAULTS };
  for (const name of Object.keys(RANGES)) {
    const number = typeof value?.[name] === 'number' ? readNumber(name, String(value[name])) : null;
    out[name] = number ?? null;
  }
  for (const name of ['system', 'tools']) {
    if (typeof value?.[name] === 'string') out[name] = value[name].slice(0, MAX_TEXT);
  }
  if (['on', 'off'].includes(value?.thinking)) out.thinking = value.thinking;
  return out;
}

// Tools as people write them down: an array, or {"tools": [...]}; each in OpenAI's shape or as {name, parameters}.
// Returns {tools} as the API wants them, or {error}.
export function readTools(text) {
  if (text.trim() === '') return { tools: [] };
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { error: `This is not JSON: ${error.message}` };
  }
  const list = Array.isArray(value) ? value : Array.isArray(value?.tools) ? value.tools : null;
  if (list === null) return { error: 'An array of tools is needed.' };
  if (list.length > 128) return { error: 'At most 128 tools are accepted.' };
  const tools = [];
  for (const [i, entry] of list.entries()) {
    const given = entry?.function ?? entry;
    if (typeof given?.name !== 'string' || given.name === '') return { error: `Tool ${i + 1} has no name.` };
    const { name, description, parameters, strict } = given;
    if (parameters !== undefined && (parameters === null || typeof parameters !== 'object' || Array.isArray(parameters))) {
      return { error: `The parameters of ${name} must be a JSON schema.` };
    }
    tools.push({ type: 'function', function: { name, description, parameters, strict } });
  }
  return { tools };
}

// Few words about what differs from the defaults.
export function summarize(settings, toolCount) {
  const out = [];
  if (settings.temperature !== null) out.push(`temperature ${settings.temperature}`);
  if (settings.top_p !== null) out.push(`top-p ${settings.top_p}`);
  if (settings.max_tokens !== null) out.push(`at most ${settings.max_tokens} tokens`);
  if (settings.seed !== null) out.push(`seed ${settings.seed}`);
  if (settings.thinking !== '') out.push(`thinking ${settings.thinking}`);
  if (settings.system.trim() !== '') out.push('system prompt');
  if (toolCount > 0) out.push(toolCount === 1 ? '1 tool' : `${toolCount} tools`);
  return out.join(' · ');
}

function read(storage, key) {
  try {
    return storage?.getItem(key) ?? null;
  } catch {
    return null;
  }
}

function write(storage, key, text) {
  try {
    storage?.setItem(key, text);
  } catch {
    // Not kept: it holds for this page all the same.
  }
}

export class Settings {
  constructor(local, session) {
    this.local = local;
    this.session = session;
    this.key = read(session, API_KEY) ?? '';
    this.reload();
  }

  reload() {
    let value = null;
    try {
      value = JSON.parse(read(this.local, KEY) ?? 'null');
    } catch {
      // Damaged: the defaults.
    }
    this.values = cleanSettings(value);
  }

  set(name, value) {
    this.values[name] = value;
    write(this.local, KEY, JSON.stringify(this.values));
  }

  reset() {
    this.values = { ...DEFAULTS };
    write(this.local, KEY, JSON.stringify(this.values));
  }

  setKey(key) {
    this.key = key.trim();
    write(this.session, API_KEY, this.key);
  }

  static isKey(key) {
    return key === KEY;
  }

  get tools() {
    return readTools(this.values.tools).tools ?? [];
  }
}

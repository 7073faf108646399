// SPDX-License-Identifier: Apache-2.0
// Talks to the server: /v1/models and a streamed /v1/chat/completions.
import { readEvents } from './sse.js';

// kind: unauthorized | limited | unavailable | refused | network | broken | cut. `seconds`: when to try again.
export class ServerError extends Error {
  constructor(kind, message, seconds = null) {
    super(message);
    this.kind = kind;
    this.seconds = seconds;
  }
}

function kindOf(status) {
  if (status === 401) return 'unauthorized';
  if (status === 429) return 'limited';
  if (status === 503) return 'unavailable';
  return status >= 500 ? 'broken' : 'refused';
}

// Retry-After in seconds, as a number or as a date.
export function retrySeconds(value, now = Date.now()) {
  if (value === null || value.trim() === '') return null;
  const seconds = /^\d+$/.test(value.trim()) ? Number(value) : (Date.parse(value) - now) / 1000;
  return Number.isFinite(seconds) ? Math.min(Math.max(Math.ceil(seconds), 0), 3600) : null;
}

function messageOf(text, fallback) {
  try {
    const { error } = JSON.parse(text);
    if (typeof error === 'string') return error.slice(0, 2000);
    if (typeof error?.message === 'string') return error.message.slice(0, 2000);
  } catch {
    // Not JSON: perhaps from something in between.
  }
  return fallback;
}

async function request(path, key, options) {
  let response;
  try {
    const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
    response = await fetch(path, { ...options, headers, credentials: 'same-origin', cache: 'no-store' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    if (key && /[^\x20-\x7e]/.test(key)) throw new ServerError('unauthorized', 'The API key holds characters that no key can have.');
    throw new ServerError('network', 'The server does not answer.');
  }
  if (response.ok) return response;
  const text = await response.text().catch(() => '');
  const message = messageOf(text, `The server answered ${response.status}.`);
  throw new ServerError(kindOf(response.status), message, retrySeconds(response.headers.get('Retry-After')));
}

// The models: [{id, context_length?}].
export async function fetchModels(key, signal) {
  const response = await request('/v1/models', key, { signal });
  const body = await response.json().catch(() => null);
  if (!Array.isArray(body?.data)) throw new ServerError('broken', 'The list of models is no list.');
  return body.data.filter((model) => typeof model?.id === 'string');
}

// Streams an answer: `onChunk` gets each chunk as parsed JSON, `onProgress` what readProgress gives. Returns
// when the stream says that it is complete.
export async function streamChat({ body, key, signal, onChunk, onProgress }) {
  const response = await request('/v1/chat/completions', key, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
    signal,
  });
  try {
    for await (const { event, data } of readEvents(response.body)) {
      if (event === 'comment') {
        const progress = readProgress(data);
        if (progress !== null) onProgress(progress);
        continue;
      }
      if (data === '[DONE]') return;
      const chunk = parseChunk(data);
      if (chunk.error !== undefined) throw new ServerError('broken', messageOf(data, 'The server reported an error.'));
      onChunk(chunk);
    }
  } catch (error) {
    if (error.name === 'AbortError' || error instanceof ServerError) throw error;
    if (error instanceof RangeError) throw new ServerError('broken', error.message);
    throw new ServerError('cut', 'What had come is kept.');
  }
  throw new ServerError('cut', 'The stream ended before the answer did. What had come is kept.');
}

// Baltoro tells in comments how far it has read the prompt, and the seconds that are left once it knows:
// "prefill 512/4096 left_s=12.5".
export function readProgress(comment) {
  const match = /^prefill (\d{1,12})\/(\d{1,12})(?: left_s=(\d{1,9}(?:\.\d{1,6})?))?(?: |$)/.exec(comment);
  if (match === null || Number(match[2]) === 0) return null;
  const out = { done: Math.min(Number(match[1]), Number(match[2])), total: Number(match[2]) };
  if (match[3] !== undefined) out.left = Number(match[3]);
  return out;
}

function parseChunk(data) {
  let chunk;
  try {
    chunk = JSON.parse(data);
  } catch {
    chunk = null;
  }
  if (chunk === null || typeof chunk !== 'object') throw new ServerError('broken', 'The stream holds something that is no JSON object.');
  return chunk;
}

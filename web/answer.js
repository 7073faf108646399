// SPDX-License-Identifier: Apache-2.0
// An answer put together from the chunks of a stream, with its times. Knows no page.

const MIN_RATE_MS = 100; // shorter answers say nothing about speed
const text = (value) => (typeof value === 'string' ? value : '');
const count = (value) => (Number.isSafeInteger(value) && value >= 0 ? value : null);

export class Answer {
  content = '';
  reasoning = '';
  calls = []; // {id, name, arguments}
  finish = null;
  usage = null; // {prompt, cached, output, reasoning}
  progress = null; // {done, total, left?}: tokens of the prompt, seconds; where the server tells
  #places = new Map();

  constructor(now) {
    this.times = { started: now, first: null, last: null, thinking: 0 };
    this.thinkingSince = null;
  }

  // Takes a chunk; returns what is new: {content, reasoning, calls: boolean}.
  take(chunk, now) {
    const news = { content: '', reasoning: '', calls: false };
    this.#readUsage(chunk.usage);
    const choice = Array.isArray(chunk.choices) ? chunk.choices.find((c) => c !== null && (c.index ?? 0) === 0) : undefined;
    if (choice === undefined) return news;
    this.#readUsage(choice.usage);
    const delta = choice.delta ?? {};
    news.reasoning = text(delta.reasoning_content) || text(delta.reasoning);
    news.content = text(delta.content) || text(delta.refusal);
    news.calls = Array.isArray(delta.tool_calls) && delta.tool_calls.slice(0, 128).map((part) => this.#call(part)).includes(true);
    if (news.reasoning !== '' || news.content !== '' || news.calls) this.#clock(news, now);
    this.reasoning += news.reasoning;
    this.content += news.content;
    if (typeof choice.finish_reason === 'string') this.finish = choice.finish_reason.slice(0, 64);
    return news;
  }

  end(now) {
    this.#stopThinking(now);
    this.times.ended = now;
  }

  // Seconds of thinking so far.
  thinkingSeconds(now) {
    return (this.times.thinking + (this.thinkingSince === null ? 0 : now - this.thinkingSince)) / 1000;
  }

  // What is kept about the answer: seconds to the first token and tokens a second after it, where known.
  stats() {
    const { started, first, last, thinking } = this.times;
    const out = { ...this.usage };
    if (first !== null) out.first = (first - started) / 1000;
    if (thinking > 0) out.thinking = thinking / 1000;
    if (out.output > 1 && last - first >= MIN_RATE_MS) out.rate = ((out.output - 1) * 1000) / (last - first);
    return out;
  }

  #clock(news, now) {
    this.times.first ??= now;
    this.times.last = now;
    if (news.reasoning !== '') this.thinkingSince ??= now;
    else this.#stopThinking(now);
  }

  #stopThinking(now) {
    if (this.thinkingSince === null) return;
    this.times.thinking += now - this.thinkingSince;
    this.thinkingSince = null;
  }

  #call(part) {
    const index = count(part?.index ?? 0);
    if (index === null || index >= 128 || typeof part?.function !== 'object') return false;
    if (!this.#places.has(index)) {
      const call = { id: '', name: '', arguments: '' };
      this.#places.set(index, call);
      this.calls.push(call);
    }
    const call = this.#places.get(index);
    call.id ||= text(part.id);
    call.name ||= text(part.function?.name);
    call.arguments += text(part.function?.arguments);
    return true;
  }

  #readUsage(usage) {
    if (usage === null || typeof usage !== 'object') return;
    const out = {
      prompt: count(usage.prompt_tokens),
      cached: count(usage.prompt_tokens_details?.cached_tokens ?? usage.cached_tokens),
      output: count(usage.completion_tokens),
      reasoning: count(usage.completion_tokens_details?.reasoning_tokens),
    };
    this.usage = Object.fromEntries(Object.entries(out).filter(([, value]) => value !== null));
  }
}

// The request's body for a conversation. Calls without a result are left out (a model would wait for them), and so is
// an assistant's message that says nothing.
export function requestBody(messages, settings, model, tools) {
  const out = settings.system.trim() === '' ? [] : [{ role: 'system', content: settings.system }];
  for (const [i, message] of messages.entries()) {
    if (message.role === 'user') out.push({ role: 'user', content: message.content });
    if (message.role === 'assistant') out.push(...assistantTurn(message, resultsAfter(messages, i)));
  }
  const body = { model, messages: out, stream: true, stream_options: { include_usage: true }, prefill_progress: true };
  for (const name of ['temperature', 'top_p', 'max_tokens', 'seed']) {
    if (settings[name] !== null) body[name] = settings[name];
  }
  if (settings.thinking !== '') body.thinking = { type: settings.thinking === 'on' ? 'enabled' : 'disabled' };
  if (tools.length > 0) body.tools = tools;
  return body;
}

// The results that follow the assistant's message at `at`: call id -> text.
export function resultsAfter(messages, at) {
  const out = new Map();
  for (let i = at + 1; messages[i]?.role === 'tool'; i += 1) out.set(messages[i].call, messages[i].content);
  return out;
}

function assistantTurn(message, results) {
  const calls = message.calls.filter((call) => results.has(call.id));
  if (message.content === '' && calls.length === 0) return [];
  const entry = { role: 'assistant', content: message.content };
  if (message.reasoning !== '') entry.reasoning_content = message.reasoning;
  if (calls.length > 0) {
    entry.tool_calls = calls.map(({ id, name, arguments: text }) => ({ id, type: 'function', function: { name, arguments: text } }));
  }
  return [entry, ...calls.map((call) => ({ role: 'tool', tool_call_id: call.id, content: results.get(call.id) }))];
}

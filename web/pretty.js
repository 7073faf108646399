// SPDX-License-Identifier: Apache-2.0
// JSON with line breaks. Works on the text, so that numbers and strings stay as they were written.

const MAX_CHARS = 200_000;
const MAX_INDENT = 20;

// The text in lines if it is JSON, else as it is.
export function prettyJson(text) {
  if (text.length > MAX_CHARS) return text;
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  const out = [];
  let depth = 0;
  const newline = () => out.push('\n', '  '.repeat(Math.min(depth, MAX_INDENT)));
  for (const [token] of text.matchAll(/"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s{}[\],:"]+/g)) {
    const closes = token === '}' || token === ']';
    if (closes) depth -= 1;
    const empty = closes && (out.at(-1) === '{' || out.at(-1) === '[');
    if (closes && !empty) newline();
    if (out.at(-1) === ',' || (!closes && (out.at(-1) === '{' || out.at(-1) === '['))) newline();
    out.push(token === ':' ? ': ' : token);
    if (token === '{' || token === '[') depth += 1;
  }
  return out.join('');
}

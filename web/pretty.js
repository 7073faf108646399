// SPDX-License-Identifier: Apache-2.0
// JSON with line breaks. Works on the text, so that numbers and strings stay as they were written.

const MAX_CHARS = 200_000;
const MAX_INDENT = 20;
const MAX_LINE = 60; // what holds nothing nested and is no longer than this stays on one line
const TOKENS = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

// The text in lines if it is JSON, else as it is.
export function prettyJson(text) {
  if (text.length > MAX_CHARS) return text;
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  const tokens = text.match(TOKENS);
  const out = [];
  let depth = 0;
  const newline = () => '\n' + '  '.repeat(Math.min(depth, MAX_INDENT));
  for (let i = 0; i < tokens.length; i += 1) {
    const token = tokens[i];
    const flat = token === '{' || token === '[' ? flatEnd(tokens, i) : -1;
    if (flat >= 0) {
      out.push(...tokens.slice(i, flat + 1).map(spaced));
      i = flat;
    } else if (token === '{' || token === '[') {
      depth += 1;
      out.push(token, newline());
    } else if (token === '}' || token === ']') {
      depth -= 1;
      out.push(newline(), token);
    } else {
      out.push(token === ',' ? ',' + newline() : spaced(token));
    }
  }
  return out.join('');
}

const spaced = (token) => (token === ':' || token === ',' ? `${token} ` : token);

// Where the array or object that opens at `start` ends, if it goes on one line, else -1.
function flatEnd(tokens, start) {
  let chars = 0;
  for (let i = start + 1; chars <= MAX_LINE; i += 1) {
    if (tokens[i] === '}' || tokens[i] === ']') return i;
    if (tokens[i] === '{' || tokens[i] === '[') return -1;
    chars += tokens[i].length + 1;
  }
  return -1;
}

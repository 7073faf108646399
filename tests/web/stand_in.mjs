// SPDX-License-Identifier: Apache-2.0
// Serves web/ with the server's own policy and plays answers: what the last user message asks for decides which.
import { readFileSync, readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const WEB = join(dirname(fileURLToPath(import.meta.url)), '../../web');
const TYPES = { html: 'text/html; charset=utf-8', css: 'text/css; charset=utf-8', js: 'text/javascript; charset=utf-8', svg: 'image/svg+xml' };
const policyText = readFileSync(join(WEB, '../baltoro/server/page.cc'), 'utf8').split('kPolicy =')[1].split(';\n')[0];
const POLICY = [...policyText.matchAll(/"([^"]*)"/g)].map((m) => m[1]).join('');
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const files = new Map(readdirSync(WEB).map((name) => [name === 'index.html' ? '/' : `/page/${name}`, name]));

export const MARKDOWN = `## Two ways to see it

A **glacier** is a *river* that forgot to hurry; its speed is \`v = 2A/(n+1) · τⁿ · H\` and its mood is older than ours. See [the article](https://example.org/glacier "Glacier") or https://example.org/ice.

1. Snow falls.
   - It is pressed to firn.
   - Firn becomes ice.
2. Ice flows:

   \`\`\`python
   def speed(A, n, tau, H):
       return 2 * A / (n + 1) * tau**n * H   # metres a year
   \`\`\`

| Glacier | Length | Range |
|:--|--:|:--|
| Baltoro | 63 km | Karakoram |
| Siachen | 76 km | Karakoram |
| Biafo | 67 km | Karakoram |

> The ice remembers what the sky has forgotten.

- [x] measured
- [ ] understood

---

That is all there is to it.`;

export const HOSTILE = `<script>window.hacked = 1</script><img src=x onerror="window.hacked = 2"> <svg onload=window.hacked=3>
[click](javascript:window.hacked=4) [data](data:text/html,<script>1</script>) <javascript:window.hacked=5> [ok](https://example.org/"onmouseover="window.hacked=6")

\`\`\`html"><script>window.hacked=7</script>
<iframe srcdoc="<script>parent.hacked=8</script>"></iframe>
\`\`\`
<style>body{display:none}</style><base href="http://evil.example/"><meta http-equiv="refresh" content="0;url=http://evil.example/">
![tracker](http://evil.example/pixel.png) <form action="http://evil.example/"><input name=q></form>
| <b>x</b> | ${'y'.repeat(3000)} |
|---|---|
| <script>window.hacked=9</script> | [z](vbscript:x) |
${'> '.repeat(400)}deep
${'- '.repeat(400)}deep
${'*a **b '.repeat(600)}
${'['.repeat(2000)}${'](http://a.b)'.repeat(100)}
\u202eright to left\u202c Z${'\u0301'.repeat(300)}algo \u0000 \ufffe ${'W'.repeat(2000)}`;

const CALL = { id: 'functions.get_weather:0', name: 'get_weather', arguments: '{"city":"Skardu","units":{"temperature":"C","wind":"m/s"},"days":[1,2,3],"station":12345678901234567890}' };

function usage(prompt, cached, output, reasoning) {
  return { prompt_tokens: prompt, completion_tokens: output, total_tokens: prompt + output, cached_tokens: cached, prompt_tokens_details: { cached_tokens: cached }, completion_tokens_details: { reasoning_tokens: reasoning } };
}

class Play {
  constructor(response) {
    this.response = response;
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache' });
  }
  raw(text) {
    if (this.response.destroyed || this.response.write(text)) return undefined;
    return new Promise((resolve) => {
      const done = () => {
        this.response.off('drain', done).off('close', done);
        resolve();
      };
      this.response.on('drain', done).on('close', done);
    });
  }
  send(delta, more = {}) {
    return this.raw(`data: ${JSON.stringify({ id: 'x', choices: [{ index: 0, delta, finish_reason: null, ...more }], usage: null })}\n\n`);
  }
  async words(text, field = 'content', ms = 8) {
    for (const word of text.split(/(?<=\s)/)) {
      if (this.response.destroyed) return;
      await this.send({ [field]: word });
      if (ms > 0) await pause(ms);
    }
  }
  async end(finish, used) {
    await this.send({}, { finish_reason: finish, usage: used });
    await this.raw(`data: ${JSON.stringify({ choices: [], usage: used })}\n\ndata: [DONE]\n\n`);
    this.response.end();
  }
}

const refuse = (response, status, type, message, headers = {}) => {
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers });
  response.end(JSON.stringify({ error: { message, type, param: null, code: type } }));
};

// word -> what happens. The first word of the last message chooses.
const PLAYS = {
  async essay(play) {
    await play.words('The user wants both views. ', 'reasoning_content', 20);
    await play.words(MARKDOWN);
    await play.end('stop', usage(1284, 1216, 231, 6));
  },
  async think(play, text, { hold }) {
    await play.words('Let me count the peaks one by one. '.repeat(30), 'reasoning_content', 5);
    await hold;
    await play.words('Five of them.');
    await play.end('stop', usage(40, 0, 260, 250));
  },
  async slow(play) {
    for (let i = 0; i < 2000 && !play.response.destroyed; i += 1) await play.words(`word${i} `, 'content', 25);
    play.response.end();
  },
  async prefill(play, text, { hold }) {
    for (let done = 0; done <= 16384; done += 2048) {
      if (done > 8192) await hold;
      await play.raw(`: prefill ${done}/16384${done > 0 ? ` left_s=${((16384 - done) / 6827).toFixed(1)}` : ''}\n\n`);
      await pause(50);
    }
    await play.words('Read.');
    await play.end('stop', usage(16384, 0, 2, 0));
  },
  async weather(play) {
    await play.words('I will look that up.');
    await play.send({ tool_calls: [{ index: 0, id: CALL.id, type: 'function', function: { name: CALL.name, arguments: '' } }] });
    for (const piece of CALL.arguments.match(/.{1,7}/g)) {
      await play.send({ tool_calls: [{ index: 0, function: { arguments: piece } }] });
      await pause(10);
    }
    await play.end('tool_calls', usage(310, 256, 42, 0));
  },
  async hostile(play) {
    await play.words(HOSTILE, 'content', 0);
    await play.end('stop', usage(1, 0, 1, 0));
  },
  async long(play, text) {
    const paragraph = 'Ice flows where the slope lets it, **slowly**, and `creeps` around what does not move. '.repeat(6);
    const block = text.includes('line') ? paragraph.replaceAll('\n', ' ') : text.includes('code') ? 'x = compute(y)  # a line of code\n'.repeat(15) : `${paragraph}\n\n`;
    if (text.includes('code')) await play.send({ content: '```py\n' });
    for (let sent = 0; sent < 1_000_000; sent += block.length) {
      await play.send({ content: block });
      if (sent % 8000 < block.length) await pause(2);
    }
    await play.end('stop', usage(10, 0, 200_000, 0));
  },
  async cut(play) {
    await play.words('This answer will not be');
    play.response.destroy();
  },
  async half(play) {
    await play.words('This one just stops');
    play.response.end();
  },
  async broken(play) {
    await play.words('Something is wrong');
    await play.raw(`data: ${JSON.stringify({ error: { message: 'the server failed to answer this request', type: 'server_error' } })}\n\n`);
    play.response.end();
  },
  async garbage(play) {
    await play.raw('data: {"choices": [{"delta": {"content": 7, "tool_calls": "no"}}], "usage": []}\n\ndata: {"choices": "no"}\n\ndata: 12\n\n');
    play.response.end();
  },
  async short(play) {
    await play.words('Tokens run', 'content', 5);
    await play.end('length', usage(9, 0, 2, 0));
  },
};
const REFUSALS = {
  busy: (response) => refuse(response, 429, 'rate_limit_error', 'the queue is full', { 'Retry-After': '2' }),
  drain: (response) => refuse(response, 503, 'unavailable', 'the server is shutting down', { 'Retry-After': '1' }),
  wrong: (response) => refuse(response, 400, 'invalid_request_error', 'temperature: a number from 0 to 2 is needed'),
};

// Starts the stand-in. `requests` gathers the bodies it got. With `key`, /v1 needs it. `hold`: a promise that thinking and
// reading a prompt wait for, if there is one.
export async function startStandIn({ key = null } = {}) {
  const state = { requests: [], key, down: false, hold: undefined };
  const server = createServer(async (request, response) => {
    const path = request.url.split('?')[0];
    if (files.has(path)) {
      const name = files.get(path);
      response.writeHead(200, { 'Content-Type': TYPES[name.split('.').pop()], 'Content-Security-Policy': POLICY, 'Cache-Control': 'no-cache' });
      return response.end(readFileSync(join(WEB, name)));
    }
    if (state.down) return request.socket.destroy();
    if (state.key !== null && request.headers.authorization !== `Bearer ${state.key}`) return refuse(response, 401, 'authentication_error', 'a valid API key is needed: Authorization: Bearer KEY');
    if (path === '/v1/models') {
      response.writeHead(200, { 'Content-Type': 'application/json' });
      return response.end(JSON.stringify({ object: 'list', data: [{ id: 'kimi-k2-thinking', object: 'model', context_length: 262144 }] }));
    }
    if (path !== '/v1/chat/completions') return refuse(response, 404, 'not_found', 'no such path here');
    let body = '';
    for await (const piece of request) body += piece;
    body = JSON.parse(body);
    state.requests.push(body);
    const last = body.messages.at(-1);
    const word = last.role === 'tool' ? 'result' : last.content.trim().split(/\s/)[0];
    if (REFUSALS[word] !== undefined) return REFUSALS[word](response);
    const play = new Play(response);
    if (PLAYS[word] !== undefined) return PLAYS[word](play, last.content, state);
    await play.words(last.role === 'tool' ? `The tool says: ${last.content}` : `You said: ${last.content}`, 'content', 2);
    return play.end('stop', usage(12, 8, 5, 0));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  state.url = `http://127.0.0.1:${server.address().port}/`;
  state.close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return state;
}

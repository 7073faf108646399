// SPDX-License-Identifier: Apache-2.0
import { webcrypto } from 'node:crypto';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Store, StoreError, cleanConversation, newConversation, titleOf } from '../../../web/store.js';

globalThis.crypto ??= webcrypto; // a browser has it, Node.js 18 only as a module

class Memory {
  entries = new Map();
  limit = Infinity;
  get length() {
    return this.entries.size;
  }
  key(i) {
    return [...this.entries.keys()][i];
  }
  getItem(key) {
    return this.entries.get(key) ?? null;
  }
  setItem(key, value) {
    if (value.length > this.limit) throw new DOMException('full', 'QuotaExceededError');
    this.entries.set(key, value);
  }
  removeItem(key) {
    this.entries.delete(key);
  }
}

function conversation(text = 'hello') {
  return { ...newConversation(), messages: [{ role: 'user', content: text }, { role: 'assistant', content: 'hi', reasoning: '', calls: [], stats: { prompt: 1 }, finish: 'stop' }] };
}

test('save, list, load, rename, remove', () => {
  const memory = new Memory();
  const store = new Store(memory);
  const one = conversation('first line\nsecond');
  assert.equal(store.save(one), false);
  assert.equal(one.rev, 1);
  store.rename(one.id, '  Named ');
  assert.deepEqual(new Store(memory).list().map((entry) => entry.title), ['Named']);
  assert.deepEqual(new Store(memory).load(one.id).messages, one.messages);
  store.remove(one.id);
  assert.equal(store.list().length, 0);
  assert.equal(store.load(one.id), null);
  assert.equal(titleOf(one), 'first line');
});

test('two tabs: the later writer of an old state gets a copy', () => {
  const memory = new Memory();
  const [left, right] = [new Store(memory), new Store(memory)];
  const mine = conversation();
  left.save(mine);
  right.refresh(`baltoro.chat.${mine.id}`);
  const theirs = right.load(mine.id);
  assert.equal(right.save(theirs), false);
  const id = mine.id;
  assert.equal(left.save(mine), true);
  assert.notEqual(mine.id, id);
  assert.equal(new Store(memory).list().length, 2);
  assert.equal(left.save(mine), false);
  right.remove(id);
  assert.equal(right.save(theirs), true, 'removed elsewhere: kept under a new id');
});

test('whatever lies in the store, the page starts and leaves it there', () => {
  const memory = new Memory();
  const good = conversation();
  new Store(memory).save(good);
  const bad = ['', 'null', '{', '[]', '{"id":"a","messages":7}', '{"id":"b","messages":[null]}', '{"id":"c","messages":[{"role":"root"}]}', '{"id":"other","messages":[]}', '"x"'];
  bad.forEach((text, i) => memory.setItem(`baltoro.chat.bad${i}`, text));
  memory.setItem('unrelated', '{');
  const store = new Store(memory);
  assert.deepEqual(store.list().map((entry) => entry.id), [good.id]);
  assert.equal(store.damaged, bad.length);
  assert.equal(memory.length, bad.length + 2);
});

test('a full store is an error, and nothing is lost', () => {
  const memory = new Memory();
  const store = new Store(memory);
  const small = conversation();
  store.save(small);
  assert.throws(() => store.save(conversation('x'.repeat(4_600_000))), StoreError);
  memory.limit = 1000;
  assert.throws(() => store.save(conversation('x'.repeat(2000))), StoreError);
  assert.equal(store.list().length, 1);
  assert.equal(small.rev, 1);
  const none = new Store(null);
  assert.throws(() => none.save(conversation()), StoreError);
  assert.deepEqual(none.list(), []);
});

test('export and import', () => {
  const [from, to] = [new Store(new Memory()), new Store(new Memory())];
  const one = conversation();
  from.save(one);
  from.save(conversation('other'));
  const file = from.exportText();
  assert.equal(to.importText(file), 2);
  assert.equal(to.importText(file), 2, 'a second import stands beside the first');
  assert.equal(to.list().length, 4);
  assert.deepEqual(to.load(one.id).messages, one.messages);
  for (const bad of ['', '{}', '[]', '{"format":"baltoro-conversations","version":2,"conversations":[]}', '{"format":"baltoro-conversations","version":1,"conversations":[{"id":"../x","messages":[]}]}']) {
    assert.throws(() => to.importText(bad), StoreError, bad);
  }
  assert.equal(to.list().length, 4);
});

test('only known fields come in', () => {
  const odd = { id: 'a1', extra: 1, messages: [{ role: 'assistant', content: 5, calls: [{ id: 'x', name: 'f', arguments: {}, evil: 1 }], stats: { prompt: 'x', rate: Infinity }, __proto__: { role: 'user' } }] };
  odd.messages[0].role = 'assistant';
  assert.deepEqual(cleanConversation(odd), { id: 'a1', rev: 0, title: '', updated: 0, messages: [{ role: 'assistant', content: '', reasoning: '', calls: [{ id: 'x', name: 'f', arguments: '' }], stats: {}, finish: '' }] });
});

// web/demo/session.js against a socket, a clock and a token server that do what the test says.

import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import { readFileSync } from "node:fs";
import { beforeEach, test } from "node:test";

const source = readFileSync(new URL("../../web/demo/session.js", import.meta.url), "utf8");
const { Session } = await import(`data:text/javascript,${encodeURIComponent(source)}`);

class FakeSocket {
  static OPEN = 1;
  static all = [];

  constructor(url, protocol) {
    Object.assign(this, { url: String(url), protocol, readyState: 0, sent: [] });
    FakeSocket.all.push(this);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close(code) {
    this.closedWith = code;
    this.readyState = 3;
  }

  accept(welcome = {}) {
    this.readyState = 1;
    this.onopen();
    this.say({ t: "welcome", sid: "s_1", epoch: "e1", resumed: "none", pos: {}, retry: { base_ms: 500, max_ms: 4000 }, ...welcome });
  }

  say(value) {
    this.onmessage?.({ data: JSON.stringify(value) });
  }

  end(code) {
    this.readyState = 3;
    this.onclose?.({ code });
  }
}

let timers, seen, tokens;

Object.assign(globalThis, {
  location: new URL("http://127.0.0.1:8080/demo/"),
  WebSocket: FakeSocket,
  setTimeout: (run, ms) => timers.push({ run, ms }),
  clearTimeout: (number) => {
    if (timers[number - 1]) timers[number - 1].run = null;
  },
});
globalThis.fetch = async () => tokens();
globalThis.crypto ??= webcrypto; // Node 18 has it not as a global

beforeEach(() => {
  globalThis.window = new EventTarget();
  FakeSocket.all = [];
  timers = [];
  seen = { states: [], messages: [], gaps: [], revoked: [] };
  tokens = () => ({ ok: true, status: 200, json: async () => ({ token: "T", app: "demo" }) });
});

const settle = () => new Promise((resolve) => setImmediate(resolve));
const last = () => FakeSocket.all.at(-1);
const waiting = () => timers.filter(({ run }) => run);

async function fire() {
  const [timer] = waiting().slice(-1);
  const { run } = timer;
  timer.run = null;
  run();
  await settle();
}

async function started() {
  const session = new Session({
    state: (kind) => seen.states.push(kind),
    welcome: () => {},
    message: (frame) => seen.messages.push(frame.id),
    gap: (frame) => seen.gaps.push(frame.why),
    revoke: (frame) => seen.revoked.push(frame.id),
    groups: () => {},
  });
  session.start("ada");
  await settle();
  return session;
}

async function connected(welcome) {
  const session = await started();
  last().accept(welcome);
  return session;
}

test("the hello carries the token, and the socket the subprotocol and the app", async () => {
  await connected();
  assert.equal(last().url, "ws://127.0.0.1:8080/v1/ws?app=demo");
  assert.equal(last().protocol, "tidegate.v1.json");
  const [hello] = last().sent;
  assert.equal(hello.t, "hello");
  assert.equal(hello.v, 1);
  assert.equal(hello.token, "T");
  assert.equal(hello.resume, undefined);
  assert.equal(seen.states.at(-1), "on");
});

for (const code of [4000, 4001, 4002, 4003, 4004, 4005, 4006, 4099]) {
  test(`${code} stops`, async () => {
    const session = await connected();
    last().end(code);
    await settle();
    assert.equal(seen.states.at(-1), "stop");
    assert.deepEqual(waiting(), []);
    assert.equal(FakeSocket.all.length, 1);
    assert.equal(session.isActive(), false);
  });
}

for (const code of [1000, 1001, 1006, 1009, 1011, 1012, 4100, 4101, 4102, 4103, 4104]) {
  test(`${code} backs off`, async () => {
    await connected();
    last().end(code);
    await settle();
    assert.equal(seen.states.at(-1), "wait");
    assert.equal(FakeSocket.all.length, 1);
    const [{ ms }] = waiting();
    assert.ok(ms >= 250 && ms <= 500, String(ms));
    await fire();
    assert.equal(FakeSocket.all.length, 2);
  });
}

for (const code of [4200, 4300, 4301]) {
  test(`${code} comes back at once, with a new token, and backs off when that doesn't help`, async () => {
    await connected();
    let fetched = 0;
    const plain = tokens;
    tokens = () => {
      fetched += 1;
      return plain();
    };
    last().end(code);
    await settle();
    assert.equal(fetched, 1);
    assert.equal(FakeSocket.all.length, 2);
    last().accept();
    last().end(code);
    await settle();
    assert.equal(FakeSocket.all.length, 2);
    assert.ok(waiting()[0].ms >= 500);
  });
}

test("the back-off doubles up to the gateway's limit and never beyond", async () => {
  await connected();
  last().end(1006);
  for (const full of [500, 1000, 2000, 4000, 4000]) {
    const { ms } = waiting().at(-1);
    assert.ok(ms >= full / 2 && ms <= full, `${ms} of ${full}`);
    await fire();
    last().end(1006);
    await settle();
  }
});

test("it resumes with the last position of each queue", async () => {
  const session = await connected({ pos: { 1: "5.0", 2: "7.0" } });
  last().say([{ t: "msg", id: "a", pos: "2:8.1", data: 1 }, { t: "pos", pos: { 1: "6.0" } }]);
  last().end(1006);
  await fire();
  last().accept();
  assert.deepEqual(last().sent[0].resume, { epoch: "e1", pos: { 1: "6.0", 2: "8.1" } });
  session.forget();
  assert.equal(session.hello("T").resume, undefined);
});

test("positions belong to the epoch that they came with", async () => {
  const resumeAfter = async (frame, welcome) => {
    last().say(frame);
    last().end(1006);
    await fire();
    last().accept(welcome);
    return last().sent[0].resume;
  };
  await connected({ pos: { 1: "5.0", 2: "7.0" } });
  const gap = { t: "gap", q: "1", from: "5.0", to: "1.0", why: "epoch", epoch: "e2" };
  const resume = await resumeAfter(gap, { epoch: "e2", resumed: "full", pos: { 1: "1.0", 2: "7.0" } });
  assert.deepEqual(resume, { epoch: "e2", pos: { 1: "1.0", 2: "7.0" } });
  const pos = { t: "pos", epoch: "e3", pos: { 1: "9.0" } };
  assert.deepEqual(await resumeAfter(pos), { epoch: "e3", pos: { 1: "9.0" } });
});

test("a queue that a welcome does not name keeps its position", async () => {
  await connected({ pos: { 1: "5.0", 2: "7.0" } });
  for (const welcome of [{ resumed: "full", pos: { 1: "6.0" } }, {}]) {
    last().end(1006);
    await fire();
    last().accept(welcome);
  }
  assert.deepEqual(last().sent[0].resume, { epoch: "e1", pos: { 1: "6.0", 2: "7.0" } });
});

test("a repeat is acknowledged and not shown", async () => {
  await connected();
  const frame = { t: "msg", id: "a", pos: "1:1.0", ack: 1, data: 1 };
  last().say(frame);
  last().say([frame, { ...frame, id: "b" }]);
  assert.deepEqual(seen.messages, ["a", "b"]);
  assert.deepEqual(last().sent.slice(1).map(({ ids }) => ids[0]), ["a", "a", "b"]);
});

test("groups are told again in the next hello, those by grant with it", async () => {
  const session = await connected();
  const joined = session.join("room:1");
  const { re } = last().sent.at(-1);
  last().say({ t: "ok", re });
  await joined;
  last().say([{ t: "joined", g: "vip", grant: "G" }, { t: "joined", g: "gone", grant: "H" }, { t: "left", g: "gone" }]);
  last().end(1006);
  await fire();
  last().accept();
  assert.deepEqual(last().sent[0].groups, ["room:1"]);
  assert.deepEqual(last().sent[0].grants, ["G"]);
});

test("a group that isn't allowed any more, and a grant that isn't taken any more, are forgotten", async () => {
  const session = await connected();
  const joined = session.join("room:1");
  last().say({ t: "ok", re: last().sent.at(-1).re });
  await joined;
  last().say({ t: "joined", g: "vip", grant: "G" });
  last().end(1006);
  await fire();
  last().accept();
  last().say({ t: "err", code: "forbidden", title: "No", g: "room:1" });
  last().say({ t: "err", code: "forbidden", title: "No" });
  last().end(1006);
  await fire();
  last().accept();
  assert.deepEqual([last().sent[0].groups, last().sent[0].grants], [undefined, undefined]);
});

test("a refused join and a lost answer are errors", async () => {
  const session = await connected();
  const refused = session.join("secret");
  last().say({ t: "err", re: last().sent.at(-1).re, code: "forbidden", title: "Not allowed" });
  await assert.rejects(refused, /Not allowed/);
  const lost = session.join("room:1");
  last().end(1006);
  await assert.rejects(lost, /lost/);
  await assert.rejects(session.join("room:1"), /not connected/);
  assert.equal(session.groups.size, 0);
});

test("goaway opens the new connection in its slot and then closes the old one", async () => {
  await connected();
  const old = last();
  old.say({ t: "goaway", slot_ms: 4200, window_ms: 20000, why: "drain" });
  assert.equal(waiting().at(-1).ms, 4200);
  await fire();
  old.say({ t: "msg", id: "during", pos: "1:2.0", data: 1 });
  assert.equal(old.closedWith, undefined);
  last().accept();
  assert.equal(old.closedWith, 1000);
  old.say({ t: "msg", id: "late", pos: "1:3.0", data: 1 });
  old.end(4200);
  await settle();
  assert.deepEqual(seen.messages, ["during", "late"]);
  assert.equal(seen.states.at(-1), "on");
  assert.equal(FakeSocket.all.length, 2);
});

test("expiring is answered with a fresh token", async () => {
  await connected();
  tokens = () => ({ ok: true, status: 200, json: async () => ({ token: "T2", app: "demo" }) });
  last().say({ t: "expiring", in_ms: 30000 });
  await settle();
  const { t, token } = last().sent.at(-1);
  assert.deepEqual([t, token], ["refresh", "T2"]);
});

test("a gateway that can't be reached is tried again, one that refuses the user is not", async () => {
  tokens = () => {
    throw new TypeError("Failed to fetch");
  };
  await started();
  assert.equal(seen.states.at(-1), "wait");
  tokens = () => ({ ok: false, status: 503, json: async () => ({ title: "Service Unavailable" }) });
  await fire();
  assert.equal(seen.states.at(-1), "wait");
  tokens = () => ({ ok: false, status: 422, json: async () => ({ title: "Unprocessable Content" }) });
  await fire();
  assert.equal(seen.states.at(-1), "stop");
});

test("without a welcome the connection is given up", async () => {
  await started();
  await fire();
  assert.equal(seen.states.at(-1), "wait");
  assert.equal(waiting().length, 1);
});

test("a network that is back ends the wait", async () => {
  await connected();
  last().end(1006);
  globalThis.window.dispatchEvent(new Event("online"));
  await settle();
  assert.equal(FakeSocket.all.length, 2);
});

test("a stop while the token is on its way stays a stop", async () => {
  const session = await connected();
  last().end(4300);
  session.stop("off", "");
  await settle();
  assert.equal(FakeSocket.all.length, 1);
  assert.equal(session.isActive(), false);
});

test("a cancelled message is told, and its place kept", async () => {
  const session = await connected();
  last().say({ t: "revoke", id: "m1", pos: "2:9.0" });
  assert.deepEqual(seen.revoked, ["m1"]);
  assert.equal(session.positions["2"], "9.0");
});

test("a gap is told", async () => {
  await connected();
  last().say({ t: "gap", q: "2", from: "1.0", to: "9.0", why: "expired" });
  assert.deepEqual(seen.gaps, ["expired"]);
});

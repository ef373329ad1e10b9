// sdk/js/engine.js against a socket and a clock that do what the test says.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { beforeEach, test } from "node:test";

import { Engine } from "../../sdk/js/engine.js";
import { Track } from "../../sdk/js/track.js";

class FakeSocket {
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

  accept(welcome) {
    this.open();
    this.welcome(welcome);
  }

  open() {
    this.readyState = 1;
    this.onopen();
  }

  welcome(welcome = {}) {
    this.say({ t: "welcome", sid: "s_1", epoch: "e1", resumed: "none", pos: { 0: "0.0" }, ping_ms: 25000, ...welcome });
  }

  say(...frames) {
    this.onmessage?.({ data: JSON.stringify(frames.length === 1 ? frames[0] : frames) });
  }

  end(code) {
    this.readyState = 3;
    this.onclose?.({ code });
  }
}

let timers, now, told, ticker;
const realNow = Date.now;

Object.assign(globalThis, {
  WebSocket: FakeSocket,
  setTimeout: (run, ms) => timers.push({ run, ms }),
  clearTimeout: (number) => timers[number - 1] && (timers[number - 1].run = null),
  setInterval: (run) => (ticker = run),
  clearInterval: () => (ticker = null),
});
Date.now = () => now;

beforeEach(() => {
  FakeSocket.all = [];
  timers = [];
  told = [];
  now = realNow();
  Math.random = () => 0.5;
});

const settle = async () => {
  for (let i = 0; i < 20; i++) await null;
};
const last = (list) => list[list.length - 1];
const socket = () => last(FakeSocket.all);
const of = (name) => told.filter(([kind]) => kind === name).map(([, value]) => value);
const due = () => timers.filter(({ run }) => run);

async function begin(options = {}, welcome = {}) {
  const engine = new Engine({ url: "http://gate.example/", ...options }, (...what) => told.push(what));
  await settle();
  socket().accept(welcome);
  return engine;
}

/* The back-off's timer, which is the last one that was set. */
async function runLast() {
  const timer = last(due());
  const { run } = timer;
  timer.run = null;
  run();
  await settle();
  return timer.ms;
}

test("the hello says who, which groups, and where it was", async () => {
  const engine = await begin({ token: () => "t1", app: "shop", device: "d1", origin: "page-1" });
  assert.equal(socket().url, "ws://gate.example/v1/ws?app=shop");
  assert.deepEqual(socket().sent[0], { t: "hello", v: 1, token: "t1", device: "d1", origin: "page-1" });
  engine.join("room:1").catch(() => {});
  socket().say({ t: "joined", g: "room:2", grant: "g2" }, { t: "msg", id: "m1", pos: "3:7.1", data: 1 });
  socket().end(1006);
  await runLast();
  socket().accept();
  const { groups, grants, resume } = socket().sent[0];
  assert.deepEqual({ groups, grants, resume }, {
    groups: ["room:1"],
    grants: ["g2"],
    resume: { epoch: "e1", pos: { 0: "0.0", 3: "7.1" } },
  });
});

test("what each close code of the protocol's page asks for is done", async () => {
  const page = readFileSync(new URL("../../docs/protocol.md", import.meta.url), "utf8");
  const codes = [...page.matchAll(/^\| (4\d{3}) \|/gm)].map(([, code]) => Number(code));
  assert.ok(codes.length > 12);
  for (const code of codes) {
    told = [];
    timers = [];
    const engine = await begin();
    const before = FakeSocket.all.length;
    socket().end(code);
    await settle();
    const state = last(of("state"));
    if (code < 4100) assert.deepEqual([state.state, state.code], ["closed", code]);
    else if (code < 4200) assert.deepEqual([state.state, state.code], ["waiting", code]);
    else assert.equal(FakeSocket.all.length, before + 1, `${code}: at once`);
    engine.close();
  }
});

test("waits are a random part of a limit that doubles, from the gateway's hint up to its end", async () => {
  await begin({}, { retry: { base_ms: 800, max_ms: 3000 } });
  const waits = [];
  for (let i = 0; i < 5; i++) {
    socket().end(4101);
    waits.push(last(of("state")).in_ms);
    await runLast();
    socket().accept({ retry: { base_ms: 800, max_ms: 3000 } });
  }
  assert.deepEqual(waits, [400, 800, 1500, 1500, 1500]);
  Math.random = () => 0;
  socket().end(4101);
  assert.equal(last(of("state")).in_ms, 0, "full jitter");
});

test("a line that lived for a while begins the waits anew", async () => {
  await begin();
  socket().end(1006);
  await runLast();
  socket().accept();
  now += 6000;
  socket().end(1006);
  assert.equal(last(of("state")).in_ms, 250);
});

test("a goaway opens the next line at its slot, before the old one is closed", async () => {
  await begin();
  const old = socket();
  old.say({ t: "goaway", slot_ms: 4200, window_ms: 20000, why: "drain" });
  assert.equal(await runLast(), 4200);
  assert.notEqual(socket(), old);
  assert.equal(old.closedWith, undefined);
  old.say({ t: "msg", id: "m1", pos: "0:1.0", data: 1 });
  socket().accept({ resumed: "full" });
  assert.equal(old.closedWith, 1000);
  socket().say({ t: "msg", id: "m1", pos: "0:1.0", data: 1 }, { t: "msg", id: "m2", pos: "0:2.0", data: 2 });
  assert.deepEqual(of("message").map(({ data }) => data), [1, 2]);
  assert.deepEqual([...new Set(of("state").slice(1).map(({ state }) => state))], ["open"]);
});

test("a repeat is confirmed when its handlers are done, and shown again when they failed", async () => {
  const engine = await begin();
  const repeat = () => socket().say({ t: "msg", id: "m1", pos: "0:1.0", ack: 1, data: 1 });
  repeat();
  socket().sent = [];
  repeat();
  assert.deepEqual(socket().sent, [], "they are busy");
  engine.fail("m1");
  repeat();
  assert.equal(of("message").length, 2);
  engine.ack("m1");
  engine.fail("m1"); // another tab has no handler for it
  socket().sent = [];
  repeat();
  assert.deepEqual(socket().sent, [{ t: "ack", ids: ["m1"] }]);
  assert.equal(of("message").length, 2);
  engine.close();
});

test("the old line's end as replaced by the one of a move is no end", async () => {
  const engine = await begin({ ticket: "t", claim: "c" });
  const old = socket();
  old.say({ t: "goaway", slot_ms: 1 });
  await runLast();
  socket().open();
  old.end(4001);
  socket().welcome({ resumed: "full" });
  assert.equal(last(of("state")).state, "open");
  socket().end(4001); // of another page
  assert.equal(last(of("state")).state, "closed");
  engine.close();
});

test("joins and leaves between hello and welcome come into force", async () => {
  const engine = new Engine({ url: "http://gate.example/" }, (...what) => told.push(what));
  await settle();
  let isJoined = false;
  const gone = engine.join("gone").catch(({ code }) => code);
  socket().open();
  engine.join("room:1").then(() => (isJoined = true));
  engine.leave("gone");
  assert.equal(await gone, "left");
  socket().welcome();
  await settle();
  const asked = socket().sent.slice(1).map(({ t, g }) => [t, g]);
  assert.deepEqual(asked, [["leave", "gone"], ["join", "room:1"]]);
  assert.equal(isJoined, false);
  socket().say({ t: "ok", re: last(socket().sent).re });
  await settle();
  assert.equal(isJoined, true);
  engine.close();
});

test("a join over the old line is taken along to the one that said hello before", async () => {
  const engine = await begin();
  const old = socket();
  old.say({ t: "goaway", slot_ms: 1 });
  await runLast();
  socket().open();
  engine.join("room:1").catch(() => {});
  await settle();
  assert.equal(last(old.sent).g, "room:1");
  socket().welcome({ resumed: "full" });
  await settle();
  assert.equal(last(socket().sent).g, "room:1");
  engine.close();
});

test("a group with a token is joined anew on each line, and told to have a gap", async () => {
  const engine = await begin();
  let count = 0;
  const joined = engine.join("secret", () => `t${++count}`);
  await settle();
  assert.equal(last(socket().sent).token, "t1");
  socket().say({ t: "ok", re: last(socket().sent).re });
  await joined;
  assert.deepEqual(of("gap"), []);
  socket().end(1006);
  await runLast();
  socket().accept({ sid: "s_2", resumed: "full" });
  await settle();
  assert.equal(socket().sent[0].groups, undefined);
  assert.equal(last(socket().sent).token, "t2");
  socket().say({ t: "ok", re: last(socket().sent).re });
  await settle();
  assert.deepEqual(of("gap"), [{ q: "*", why: "expired" }]);
  assert.deepEqual(last(of("groups")), ["secret"]);
  socket().end(1006);
  await runLast();
  socket().accept({ sid: "s_3" });
  await settle();
  socket().say({ t: "err", re: last(socket().sent).re, code: "forbidden" });
  await settle();
  assert.deepEqual(of("refused"), [{ g: "secret", code: "forbidden" }]);
  engine.close();
});

test("a group that is refused for the moment is asked for again", async () => {
  const engine = await begin();
  const joined = engine.join("room:1");
  await settle();
  socket().say({ t: "err", re: last(socket().sent).re, code: "overloaded" });
  await settle();
  await runLast();
  socket().say({ t: "ok", re: last(socket().sent).re });
  await joined;
  assert.deepEqual(of("refused"), []);
  engine.close();
});

test("a quiet line is asked for a sign of life, and is dropped without one", async () => {
  await begin();
  now += 26000;
  ticker();
  assert.equal(last(socket().sent).t, "ping");
  socket().say({ t: "ok", re: last(socket().sent).re });
  await settle();
  now += 26000;
  ticker();
  await runLast(); // no answer in time
  assert.equal(last(of("state")).state, "waiting");
});

test("after a sleep the line is asked at once, and a wait is cut short", async () => {
  const engine = await begin();
  now += 5000;
  ticker();
  assert.equal(socket().sent.length, 1, "no sleep");
  now += 60000;
  ticker();
  assert.equal(last(socket().sent).t, "ping");
  socket().end(1006);
  const count = FakeSocket.all.length;
  engine.wake();
  await settle();
  assert.equal(FakeSocket.all.length, count + 1);
});

/* What a gateway answers over plain HTTP; undefined: nothing does. */
function plainHttp(status) {
  const asked = [];
  globalThis.fetch = async (url) => {
    asked.push(new URL(url).searchParams.get("hello"));
    if (!status()) throw new Error("no network");
    return new Response("", { status: status() });
  };
  return asked;
}

test("two lines without a welcome give the next transport its turn, where plain HTTP gets through", async () => {
  let status;
  const asked = plainHttp(() => status);
  const engine = new Engine({ url: "http://gate.example/" }, (...what) => told.push(what));
  await settle();
  for (status of [undefined, 503]) {
    for (let i = 0; i < 2; i++) {
      socket().end(1006);
      await runLast();
    }
    assert.equal(engine.transport, 0, "an outage");
  }
  status = 400;
  socket().end(1006);
  await runLast();
  socket().end(1006);
  await runLast();
  assert.equal(engine.transport, 1);
  assert.equal(last(asked), "");
  engine.close();
});

test("a transport that worked is not given up for a few failures", async () => {
  plainHttp(() => 400);
  const engine = await begin();
  for (let i = 0; i < 6; i++) {
    socket().end(1006);
    await runLast();
  }
  assert.equal(engine.transport, 0);
  engine.close();
});

test("on another transport the first one is tried now and then, beside the line", async () => {
  globalThis.fetch = () => new Promise(() => {});
  const engine = new Engine({ url: "http://gate.example/", transports: ["websocket", "sse"] }, (...what) => told.push(what));
  engine.connect(1);
  await settle();
  engine.next.sid = "s_sse";
  engine.hello(engine.next);
  engine.next.take(JSON.stringify({ t: "welcome", sid: "s_sse", epoch: "e1", resumed: "none" }));
  assert.equal(last(of("state")).transport, "sse");
  for (const isBlocked of [true, false]) {
    now += 200000;
    engine.line.heardAt = engine.seenAt = now;
    ticker();
    await settle();
    if (isBlocked) socket().end(1006);
    else socket().accept({ resumed: "full" });
    assert.equal(last(of("state")).transport, isBlocked ? "sse" : "websocket");
  }
  engine.close();
});

test("what is sent waits for a line, up to a limit, and is told unknown when its line is lost", async () => {
  const engine = await begin({ queue: 2 });
  const lost = engine.send("a", 1);
  socket().end(1006);
  assert.equal((await lost.catch((error) => error)).code, "unknown");
  const kept = [engine.send("b", 2), engine.send("c", 3)];
  assert.equal((await engine.send("d", 4).catch((error) => error)).code, "queue_full");
  await runLast();
  socket().accept();
  assert.deepEqual(socket().sent.slice(1).map(({ type, data }) => [type, data]), [["b", 2], ["c", 3]]);
  for (const { re } of socket().sent.slice(1)) socket().say({ t: "ok", re });
  await Promise.all(kept);
});

test("a ticket that has expired is not tried again, if the gateway's clock says so, too", async () => {
  for (const [status, state] of [[400, "waiting"], [410, "closed"]]) {
    plainHttp(() => status);
    const engine = await begin({ ticket: "t", claim: "c" }, { exp: Math.floor(realNow() / 1000) + 60 });
    now += 61000;
    socket().end(1006);
    await runLast();
    assert.equal(last(of("state")).state, state);
    engine.close();
  }
  assert.equal(last(of("state")).code, 4006);
});

test("a token that can't be had is tried again, one that is refused for good ends it", async () => {
  let fail = Object.assign(new Error("busy"), {});
  const engine = new Engine({ url: "http://gate.example/", token: () => Promise.reject(fail) }, (...what) => told.push(what));
  await settle();
  assert.equal(last(of("state")).state, "waiting");
  fail = Object.assign(new Error("signed out"), { final: true });
  await runLast();
  assert.deepEqual(last(of("state")), { state: "closed", code: 4004, why: "signed out" });
  engine.close();
});

test("positions: another epoch replaces them, a gap with a new name keeps other queues", () => {
  const track = new Track();
  track.take({ t: "welcome", epoch: "e1", pos: { 0: "1.0", 1: "2.0" }, resumed: "none" });
  track.take({ t: "gap", q: "0", to: "9.0", why: "epoch", epoch: "e2" });
  assert.deepEqual(track.resume, { epoch: "e2", pos: { 0: "9.0", 1: "2.0" } });
  track.take({ t: "pos", epoch: "e3", pos: { 2: "1.0" } });
  assert.deepEqual(track.resume, { epoch: "e3", pos: { 2: "1.0" } });
});

test("what is sent over a line that is closing waits for the next one", async () => {
  const engine = await begin();
  socket().readyState = 2;
  const sent = engine.send("a", 1);
  socket().end(1006);
  await runLast();
  socket().accept();
  assert.equal(last(socket().sent).type, "a");
  socket().say({ t: "ok", re: last(socket().sent).re });
  await sent;
  engine.close();
});

/* Over an event stream that answers as the test says. */
async function refusedStream(answer, options) {
  globalThis.fetch = async () => answer;
  const engine = new Engine({ url: "http://gate.example/", transports: ["sse"], ...options }, (...what) => told.push(what));
  await settle();
  engine.close();
  return of("state")[1];
}

test("a stream's refusal is obeyed: how soon again, a forged ticket, a portal's page", async () => {
  const busy = new Response("", { status: 503, headers: { "Retry-After": "7" } });
  assert.equal((await refusedStream(busy)).in_ms, 7250);
  told = [];
  const forged = new Response("", { status: 401 });
  assert.equal((await refusedStream(forged, { ticket: "t" })).code, 4004);
  told = [];
  const portal = new Response("<h1>Sign in</h1>", { headers: { "Content-Type": "text/html" } });
  assert.equal((await refusedStream(portal)).state, "waiting");
});

test("what is said beside a stream has its time from when it is posted", async () => {
  const engine = await begin();
  const sent = engine.send("a", 1);
  const { line } = engine;
  line.say = () => true; // it is queued behind others
  const count = due().length;
  engine.send("b", 2).catch(() => {});
  assert.equal(due().length, count);
  socket().say({ t: "ok", re: 1 });
  await sent;
  engine.close();
});

test("a token that never comes, and a socket that can't be made, are tried again", async () => {
  const engine = new Engine({ url: "http://gate.example/", token: () => new Promise(() => {}) }, (...what) => told.push(what));
  await settle();
  assert.equal(await runLast(), 15000);
  assert.equal(last(of("state")).why, "no token");
  engine.close();
  globalThis.WebSocket = class {
    constructor() {
      throw new Error("forbidden here");
    }
  };
  const other = new Engine({ url: "http://gate.example/" }, (...what) => told.push(what));
  await settle();
  globalThis.WebSocket = FakeSocket;
  assert.deepEqual([last(of("state")).state, last(of("state")).why], ["waiting", "forbidden here"]);
  other.close();
});

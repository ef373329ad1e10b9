/* Keeps one session alive over any number of lines: connects, resumes, comes back, moves before a node goes away, falls
 * back to an event stream, and keeps what is said while there is no line. Runs in a page or in a SharedWorker; knows
 * nothing of pages. What happens is told by `tell(name, value)`:
 *   state {state, transport, sid, code, why, in_ms}   groups [names]   left name   refused {g, code}
 *   message, revoke, gap, pos, welcome: the frame */
import { LOST, SocketLine, StreamLine } from "./lines.js";
import { Track } from "./track.js";

const WELCOME_MS = 10000;
const STABLE_MS = 5000; // a line that lived so long resets the back-off
const ANSWER_MS = 10000;
const PING_MS = 4000;
const TICK_MS = 5000;
const POLL_MS = 25000;
const TOKEN_MS = 15000; // for a token that never comes
const REACH_MS = 5000;
const HOME_MS = 180000; // between two looks whether the first transport gets through by now
const BLOCKED_TRIES = 2; // lines without a welcome after which the next transport may have its turn
const PROVEN_TRIES = 8; // the same for a transport that worked before
const TRANSIENT = ["overloaded", "rate_limited", "unavailable"]; // refusals of a group that are asked again
const TRANSPORTS = ["websocket", "sse", "poll"];

export class TidegateError extends Error {
  constructor(code, message) {
    super(message || code);
    this.name = "TidegateError";
    this.code = code;
  }
}

/* crypto.randomUUID is only where the page came over TLS. */
export const uid = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

/* 40xx: stop. 42xx: planned. 43xx: a new token, which every connect fetches. All else: wait. */
const verdict = (code) =>
  code >= 4000 && code < 4100 ? "stop" : code >= 4200 && code < 4400 ? "again" : "wait";

const within = (promise, ms) => {
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(() => reject(new TidegateError("timeout")), ms)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

export class Engine {
  /* options: see tidegate.d.ts. track: what another tab had read, when this one takes over; then
   * options.after: ms before it connects. */
  constructor(options, tell, track = new Track()) {
    this.options = { transports: TRANSPORTS, queue: 100, ...options };
    this.tell = tell;
    this.track = track;
    this.groups = new Map(); // name → {own, token, grant, sid: in force there, wants: joins to be answered}
    this.asked = new Map(); // number → {resolve, reject, timer}
    this.waiting = []; // what is said while there is no line
    this.number = 0;
    this.round = 0; // an answer that belongs to an older one is ignored
    this.tries = 0;
    this.failures = 0; // lines in a row that were never welcomed
    this.transport = 0;
    this.proven = new Set(); // transports that worked
    this.retry = { base_ms: 500, max_ms: 30000 };
    this.pingMs = 25000;
    this.seenAt = Date.now();
    this.ticker = setInterval(() => this.tick(), TICK_MS);
    if (options.after !== undefined) this.timer = setTimeout(() => this.connect(), options.after);
    else this.connect();
  }

  /* ---- lines ---- */

  /* trial: a transport to look at while another one carries. */
  async connect(trial) {
    const round = ++this.round;
    const isOld = () => round !== this.round || this.isClosed;
    clearTimeout(this.timer);
    this.timer = undefined;
    if (!this.line) this.say({ state: "connecting" });
    if (trial === undefined && this.failures >= (this.proven.has(this.transport) ? PROVEN_TRIES : BLOCKED_TRIES)) {
      const status = await this.plainStatus();
      if (isOld()) return;
      if (status === 410) return this.stop(4006);
      this.failures = 0;
      if (status < 500) this.transport = (this.transport + 1) % this.options.transports.length;
    }
    let token;
    try {
      token = await (this.options.token && within(this.options.token(), TOKEN_MS));
    } catch (error) {
      if (isOld()) return;
      if (error?.final) this.stop(4004, error.message);
      else if (!this.line) this.backOff("no token");
      return;
    }
    if (isOld()) return;
    try {
      this.open(token, trial ?? this.transport);
    } catch (error) { // what the page's policy forbids, say
      this.failures++;
      if (!this.line) this.backOff(error.message);
    }
  }

  /* How the gateway answers plain HTTP: when it does, it is the transport that fails, and not the gateway or the network; or
   * the ticket is over, which a WebSocket can't tell. */
  async plainStatus() {
    const address = this.url("/v1/sse");
    address.searchParams.set("hello", "-");
    try {
      return (await fetch(address, { credentials: "include", signal: AbortSignal.timeout(REACH_MS) })).status;
    } catch {} // no answer
  }

  open(token, transport) {
    const kind = this.options.transports[transport];
    const handlers = {
      frame: (line, frame) => this.onFrame(line, frame),
      end: (line, code, ms) => this.onEnd(line, code, ms),
    };
    const options = {
      token,
      hello: (line) => this.hello(line),
      url: (path) => this.url(path),
      poll: kind === "poll" ? POLL_MS : undefined,
    };
    this.next?.close();
    this.next = undefined;
    this.next = kind === "websocket" ? new SocketLine(options, handlers) : new StreamLine(options, handlers);
    const line = this.next;
    line.transport = transport;
    clearTimeout(this.patience);
    this.patience = setTimeout(() => line.isWelcomed || line.over(LOST), WELCOME_MS);
  }

  url(path) {
    const url = new URL(path, this.options.url);
    for (const name of ["app", "ticket"]) if (this.options[name]) url.searchParams.set(name, this.options[name]);
    return url;
  }

  /* What needs a token of its own is joined after the welcome. */
  hello(line) {
    const { device, attrs, origin, claim } = this.options;
    const groups = [...this.groups].filter(([, group]) => group.own && !group.token).map(([name]) => name);
    line.named = new Set(groups);
    const grants = [...this.groups.values()].flatMap(({ own, grant }) => (grant && !own ? [grant] : []));
    return {
      t: "hello",
      v: 1,
      device,
      attrs,
      origin,
      claim,
      groups: groups.length ? groups : undefined,
      grants: grants.length ? grants : undefined,
      resume: this.track.resume,
    };
  }

  onWelcome(line, frame) {
    Object.assign(this.retry, frame.retry);
    this.pingMs = frame.ping_ms || this.pingMs;
    this.endsAt = this.options.ticket && frame.exp * 1000;
    if (line === this.line) return this.settleGroups(line); // polling: each response is a session of its own
    if (this.line) this.leaveLine();
    this.line = line;
    this.next = undefined;
    this.failures = 0;
    this.transport = line.transport;
    this.proven.add(line.transport);
    this.upAt = this.homeAt = Date.now();
    this.tell("welcome", frame);
    this.say({ state: "open", transport: line.kind, sid: frame.sid });
    this.settleGroups(line);
    this.flush();
  }

  /* What changed since the hello left, or could not be in it. */
  settleGroups(line) {
    for (const name of line.named) {
      if (this.groups.get(name)?.own) this.entered(name);
      else this.ask({ t: "leave", g: name }).catch(() => {});
    }
    for (const [name, { own }] of this.groups) if (own && !line.named.has(name)) this.enter(name);
  }

  /* After a goaway: what the old one still had comes over the new one, too. */
  leaveLine() {
    this.line.close();
    this.rejectAsked();
  }

  onEnd(line, code, ms = 0) {
    if (line !== this.line && line !== this.next) return;
    const wasUp = line === this.line;
    if (wasUp) this.line = undefined;
    else this.next = undefined;
    if (wasUp) this.rejectAsked();
    if (wasUp && code === 4001 && this.next?.named) return; // replaced by our own next line, which has the same claim
    if (!line.isWelcomed && code === LOST && line.transport === this.transport) this.failures++;
    if (verdict(code) === "stop") this.stop(code);
    else if (!this.line && !this.next) this.comeBack(line, code, ms);
    else if (!wasUp && line.transport !== this.transport) return; // a trial, another time
    else if (!wasUp) this.timer = setTimeout(() => this.connect(), this.delay()); // the old line still carries
  }

  comeBack(line, code, ms) {
    if (this.endsAt <= Date.now()) this.failures = PROVEN_TRIES; // says this clock: ask
    if (line.isWelcomed && Date.now() - this.upAt > STABLE_MS) this.tries = 0;
    if (verdict(code) === "again" && this.tries === 0) {
      this.tries = 1;
      this.connect();
    } else {
      this.backOff(undefined, code, ms);
    }
  }

  /* Full jitter: many clients that lost one node must not come back together. */
  delay() {
    const { base_ms, max_ms } = this.retry;
    return Math.random() * Math.min(max_ms, base_ms * 2 ** Math.min(this.tries++, 16));
  }

  /* atLeast: what the gateway asked for. */
  backOff(why, code, atLeast = 0) {
    const in_ms = atLeast + this.delay();
    this.say({ state: "waiting", why, code, in_ms });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.connect(), in_ms);
  }

  /* ---- the world ---- */

  /* The network is back, or the page is seen again: what was planned for later is tried now, and a line is asked
   * whether it is still there. */
  wake() {
    if (this.isClosed) return;
    if (this.line) this.probe();
    else if (this.timer !== undefined) {
      this.tries = 0;
      this.connect();
    }
  }

  tick() {
    const slept = Date.now() - this.seenAt > 4 * TICK_MS; // or the browser held the timers of a hidden page
    this.seenAt = Date.now();
    if (!this.line) return void (slept && this.wake());
    if (slept || Date.now() - this.line.heardAt > this.pingMs) this.probe();
    if (this.transport && !this.next && this.timer === undefined && Date.now() - this.homeAt > HOME_MS) {
      this.homeAt = Date.now();
      this.connect(0);
    }
  }

  /* A page doesn't see the gateway's pings, and a browser learns late that a network is gone. */
  probe() {
    const line = this.line;
    if (line.kind === "poll" || this.probing === line) return;
    this.probing = line;
    this.ask({ t: "ping" }, PING_MS).catch(() => {}).finally(() => {
      if (this.probing === line) this.probing = undefined;
    });
  }

  close() {
    this.isClosed = true;
    this.round++;
    clearInterval(this.ticker);
    clearTimeout(this.timer);
    clearTimeout(this.patience);
    this.line?.close();
    this.next?.close();
    this.line = this.next = undefined;
    this.rejectAsked();
    for (const { reject } of this.waiting.splice(0)) reject(new TidegateError("closed"));
    for (const group of this.groups.values()) this.answer(group, new TidegateError("closed"));
  }

  stop(code, why) {
    this.close();
    this.say({ state: "closed", code, why });
  }

  say(state) {
    this.state = state;
    this.tell("state", state);
  }

  /* ---- frames ---- */

  onFrame(line, frame) {
    if (line !== this.line && line !== this.next) return;
    const isNew = this.track.take(frame);
    switch (frame.t) {
      case "welcome":
        return this.onWelcome(line, frame);
      case "msg":
        if (isNew) this.tell("message", frame);
        else if (frame.ack && this.track.isDone(frame.id)) this.ack(frame.id); // it was not heard
        return;
      case "revoke":
      case "gap":
      case "pos":
        return this.tell(frame.t, frame);
      case "ok":
      case "err":
        return this.onAnswer(line, frame);
      case "joined":
        this.group(frame.g).grant = frame.grant;
        return this.tell("groups", [...this.groups.keys()]);
      case "left":
        return this.drop(frame.g);
      case "goaway":
        clearTimeout(this.timer);
        this.timer = setTimeout(() => this.connect(), frame.slot_ms);
        return;
      case "expiring":
        return this.refresh();
    }
  }

  async refresh() {
    const line = this.line;
    try {
      const token = await this.options.token?.();
      if (!token || line !== this.line) return;
      await this.ask({ t: "refresh", token });
      line.options.token = token; // for the requests beside a stream
    } catch {
      /* The gateway then closes with 4300, and the next connect brings another token. */
    }
  }

  onAnswer(line, frame) {
    const asked = this.asked.get(frame.re);
    if (frame.t === "err" && !asked && frame.g) { // of the hello
      line.named?.delete(frame.g);
      return this.refuse(line, frame.g, frame);
    }
    if (!asked) return;
    this.asked.delete(frame.re);
    clearTimeout(asked.timer);
    if (frame.t === "ok") asked.resolve();
    else asked.reject(new TidegateError(frame.code, frame.title || frame.detail));
  }

  /* Over the line that is there; rejects with "unknown" when nobody knows whether it came. An answer that is late is the
   * sign of a line that is dead. */
  ask(frame, within = ANSWER_MS) {
    return new Promise((resolve, reject) => {
      const line = this.line;
      const re = ++this.number;
      const asked = { resolve, reject };
      this.asked.set(re, asked);
      const onSent = () => {
        if (this.asked.has(re)) asked.timer = setTimeout(() => line.over(LOST), within);
      };
      if (line?.say({ ...frame, re }, onSent)) return;
      this.asked.delete(re);
      reject(new TidegateError("offline"));
    });
  }

  rejectAsked() {
    for (const { reject, timer } of this.asked.values()) {
      clearTimeout(timer);
      reject(new TidegateError("unknown"));
    }
    this.asked.clear();
  }

  /* ---- what the application wants ---- */

  group(name) {
    if (!this.groups.has(name)) this.groups.set(name, {});
    return this.groups.get(name);
  }

  /* Resolves when it is in force. token: a string, or a function that fetches one for each line. */
  join(name, token) {
    if (this.isClosed) return Promise.reject(new TidegateError("closed"));
    const group = this.group(name);
    Object.assign(group, { own: true, token: token ?? group.token });
    this.tell("groups", [...this.groups.keys()]);
    return new Promise((resolve, reject) => {
      (group.wants ??= []).push({ resolve, reject });
      if (this.line) this.enter(name);
    });
  }

  async enter(name) {
    const { line } = this;
    const group = this.groups.get(name);
    try {
      const token = typeof group.token === "function" ? await within(group.token(), TOKEN_MS) : group.token;
      await this.ask({ t: "join", g: name, token });
      const isBack = group.sid && group.sid !== line.sid;
      if (this.groups.get(name) === group) this.entered(name);
      /* A join begins with what comes now: what was between the lines is not resumed. */
      if (isBack) this.tell("gap", { q: "*", why: "expired" });
    } catch (error) {
      if (error.code === "unknown" || error.code === "offline") return; // the next line asks
      if (this.groups.get(name) === group) this.refuse(line, name, error);
    }
  }

  entered(name) {
    const group = this.groups.get(name);
    group.sid = this.line.sid;
    this.answer(group);
  }

  answer(group, error) {
    for (const { resolve, reject } of group.wants?.splice(0) ?? []) error ? reject(error) : resolve();
  }

  refuse(line, name, { code = "token", title, message }) {
    const group = this.groups.get(name);
    if (!group) return;
    if (TRANSIENT.includes(code)) {
      setTimeout(() => line === this.line && this.groups.get(name) === group && this.enter(name), this.delay());
      return;
    }
    this.answer(group, new TidegateError(code, title || message));
    this.tell("refused", { g: name, code });
    this.drop(name);
  }

  async leave(name) {
    this.drop(name);
    if (this.line) await this.ask({ t: "leave", g: name }).catch(() => {});
  }

  drop(name) {
    const group = this.groups.get(name);
    if (!this.groups.delete(name)) return;
    this.answer(group, new TidegateError("left"));
    this.tell("left", name);
    this.tell("groups", [...this.groups.keys()]);
  }

  /* Its handlers are done. */
  ack(id) {
    this.track.done(id);
    this.line?.say({ t: "ack", ids: [id] });
  }

  /* They failed, or there was none: the repeat is shown again. */
  fail(id) {
    this.track.forget(id);
  }

  /* To the application's webhook. Without a line it waits, in order. */
  send(type, data) {
    if (this.isClosed) return Promise.reject(new TidegateError("closed"));
    if (this.line && !this.line.isClosing && !this.waiting.length) return this.ask({ t: "send", type, data });
    if (this.waiting.length >= this.options.queue) return Promise.reject(new TidegateError("queue_full"));
    return new Promise((resolve, reject) => this.waiting.push({ type, data, resolve, reject }));
  }

  flush() {
    for (const { type, data, resolve, reject } of this.waiting.splice(0)) {
      this.ask({ t: "send", type, data }).then(resolve, reject);
    }
  }
}

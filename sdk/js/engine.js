/* Keeps one session alive over any number of lines: connects, resumes, comes back, moves before a node goes away, falls
 * back to an event stream, and keeps what is said while there is no line. Runs in a page or in a SharedWorker; knows
 * nothing of pages. What happens is told by `tell(name, value)`:
 *   state {state, transport, sid, code, why, in_ms}   groups [names]   message, revoke, gap, pos, welcome: the frame */
import { LOST, SocketLine, StreamLine } from "./lines.js";
import { Track } from "./track.js";

const WELCOME_MS = 10000;
const STABLE_MS = 5000; // a line that lived so long resets the back-off
const ANSWER_MS = 10000;
const PING_MS = 4000;
const TICK_MS = 5000;
const POLL_MS = 25000;
const BLOCKED_TRIES = 2; // lines without a welcome after which the next transport has its turn
const TRANSPORTS = ["websocket", "sse", "poll"];

export class TidegateError extends Error {
  constructor(code, message) {
    super(message || code);
    this.name = "TidegateError";
    this.code = code;
  }
}

/* 40xx: stop. 42xx: planned. 43xx: a new token, which every connect fetches. All else: wait. */
const verdict = (code) =>
  code >= 4000 && code < 4100 ? "stop" : code >= 4200 && code < 4400 ? "again" : "wait";

export class Engine {
  /* options: see tidegate.d.ts. track: what another tab had read, when this one takes over. */
  constructor(options, tell, track = new Track()) {
    this.options = { transports: TRANSPORTS, queue: 100, ...options };
    this.tell = tell;
    this.track = track;
    this.groups = new Map(); // name → {own, token, grant}: own ones hello asks for, the others their grants
    this.asked = new Map(); // number → {resolve, reject, timer}
    this.waiting = []; // what is said while there is no line
    this.number = 0;
    this.round = 0; // an answer that belongs to an older one is ignored
    this.tries = 0;
    this.failures = 0; // lines in a row that were never welcomed
    this.transport = 0;
    this.retry = { base_ms: 500, max_ms: 30000 };
    this.pingMs = 25000;
    this.seenAt = Date.now();
    this.ticker = setInterval(() => this.tick(), TICK_MS);
    this.connect();
  }

  /* ---- lines ---- */

  async connect() {
    const round = ++this.round;
    clearTimeout(this.timer);
    this.timer = undefined;
    if (!this.line) this.say({ state: "connecting" });
    let token;
    try {
      token = await this.options.token?.();
    } catch (error) {
      if (round !== this.round || this.isClosed) return;
      if (error?.final) this.stop(4004, error.message);
      else if (!this.line) this.backOff("no token");
      return;
    }
    if (round === this.round && !this.isClosed) this.open(token);
  }

  open(token) {
    const kind = this.options.transports[this.transport];
    const handlers = {
      frame: (line, frame) => this.onFrame(line, frame),
      end: (line, code) => this.onEnd(line, code),
    };
    const options = {
      token,
      hello: () => this.hello(),
      url: (path) => this.url(path),
      poll: kind === "poll" ? POLL_MS : undefined,
    };
    this.next?.close();
    this.next = kind === "websocket" ? new SocketLine(options, handlers) : new StreamLine(options, handlers);
    const line = this.next;
    clearTimeout(this.patience);
    this.patience = setTimeout(() => line.isWelcomed || line.over(LOST), WELCOME_MS);
  }

  url(path) {
    const url = new URL(path, this.options.url);
    for (const name of ["app", "ticket"]) if (this.options[name]) url.searchParams.set(name, this.options[name]);
    return url;
  }

  hello() {
    const { device, attrs, origin, claim } = this.options;
    const groups = [...this.groups].filter(([, group]) => group.own).map(([name]) => name);
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
    if (line === this.line) return; // polling: each response is a session of its own
    if (this.line) this.leaveLine();
    this.line = line;
    this.next = undefined;
    this.failures = 0;
    this.upAt = Date.now();
    this.tell("welcome", frame);
    this.say({ state: "open", transport: line.kind, sid: frame.sid });
    for (const [name, { own, token }] of this.groups) {
      if (own && token) this.ask({ t: "join", g: name, token }).catch(({ code }) => code === "forbidden" && this.drop(name));
    }
    this.flush();
  }

  /* After a goaway: what the old one still had comes over the new one, too. */
  leaveLine() {
    this.line.close();
    this.rejectAsked();
  }

  onEnd(line, code) {
    if (line !== this.line && line !== this.next) return;
    const wasUp = line === this.line;
    if (wasUp) this.line = undefined;
    else this.next = undefined;
    if (wasUp) this.rejectAsked();
    if (!line.isWelcomed && code === LOST) this.failures++;
    if (verdict(code) === "stop") this.stop(code);
    else if (!this.line && !this.next) this.comeBack(line, code);
    else if (!wasUp) this.timer = setTimeout(() => this.connect(), this.delay()); // the old line still carries
  }

  comeBack(line, code) {
    if (this.endsAt <= Date.now()) return this.stop(4006, "the ticket has expired");
    if (this.failures >= BLOCKED_TRIES) {
      this.failures = 0;
      this.transport = (this.transport + 1) % this.options.transports.length;
    }
    if (line.isWelcomed && Date.now() - this.upAt > STABLE_MS) this.tries = 0;
    if (verdict(code) === "again" && this.tries === 0) {
      this.tries = 1;
      this.connect();
    } else {
      this.backOff(undefined, code);
    }
  }

  /* Full jitter: many clients that lost one node must not come back together. */
  delay() {
    const { base_ms, max_ms } = this.retry;
    return Math.random() * Math.min(max_ms, base_ms * 2 ** Math.min(this.tries++, 16));
  }

  backOff(why, code) {
    const in_ms = this.delay();
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
      this.transport = 0;
      this.connect();
    }
  }

  tick() {
    const slept = Date.now() - this.seenAt > 4 * TICK_MS; // or the browser held the timers of a hidden page
    this.seenAt = Date.now();
    if (!this.line) return void (slept && this.wake());
    if (slept || Date.now() - this.line.heardAt > this.pingMs) this.probe();
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
        return isNew ? this.tell("message", frame) : frame.ack && this.ack(frame.id);
      case "revoke":
      case "gap":
      case "pos":
        return this.tell(frame.t, frame);
      case "ok":
      case "err":
        return this.onAnswer(frame);
      case "joined":
        this.groups.set(frame.g, { ...this.groups.get(frame.g), grant: frame.grant });
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
      if (token && line === this.line) await this.ask({ t: "refresh", token });
    } catch {
      /* The gateway then closes with 4300, and the next connect brings another token. */
    }
  }

  onAnswer(frame) {
    const asked = this.asked.get(frame.re);
    if (frame.t === "err" && !asked && frame.g) { // of the hello
      this.tell("refused", frame);
      return this.drop(frame.g);
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
      if (!line?.say({ ...frame, re })) return reject(new TidegateError("offline"));
      const timer = setTimeout(() => line.over(LOST), within);
      this.asked.set(re, { resolve, reject, timer });
    });
  }

  rejectAsked() {
    for (const { reject, timer } of this.asked.values()) {
      clearTimeout(timer);
      reject(new TidegateError("unknown", "the line was lost before the answer"));
    }
    this.asked.clear();
  }

  /* ---- what the application wants ---- */

  async join(name, token) {
    this.groups.set(name, { ...this.groups.get(name), own: true, token });
    this.tell("groups", [...this.groups.keys()]);
    if (!this.line) return; // the hello asks for it
    try {
      await this.ask({ t: "join", g: name, token });
    } catch (error) {
      if (error.code === "unknown" || error.code === "offline") return; // so does the next one
      this.drop(name);
      throw error;
    }
  }

  async leave(name) {
    this.drop(name);
    if (this.line) await this.ask({ t: "leave", g: name }).catch(() => {});
  }

  drop(name) {
    if (this.groups.delete(name)) this.tell("groups", [...this.groups.keys()]);
  }

  ack(id) {
    this.line?.say({ t: "ack", ids: [id] });
  }

  /* To the application's webhook. Without a line it waits, in order. */
  send(type, data) {
    if (this.isClosed) return Promise.reject(new TidegateError("closed"));
    if (this.line && !this.waiting.length) return this.ask({ t: "send", type, data });
    if (this.waiting.length >= this.options.queue) return Promise.reject(new TidegateError("queue_full"));
    return new Promise((resolve, reject) => this.waiting.push({ type, data, resolve, reject }));
  }

  flush() {
    for (const { type, data, resolve, reject } of this.waiting.splice(0)) {
      this.ask({ t: "send", type, data }).then(resolve, reject);
    }
  }
}

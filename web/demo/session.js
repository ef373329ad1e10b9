/* A tidegate session: subprotocol tidegate.v1.json over WebSocket. Reconnects with a back-off, resumes by
 * positions, drops repeats, obeys the close codes. Knows nothing of the page. */

const SUBPROTOCOL = "tidegate.v1.json";
const REMEMBERED_IDS = 2000;
const WELCOME_TIMEOUT_MS = 10000;
const STABLE_MS = 5000; // a connection that lived so long resets the back-off

const STOP_WORDS = {
  4000: "kicked",
  4001: "replaced by a newer connection",
  4002: "the gateway could not read a frame",
  4003: "forbidden",
  4004: "the token is not valid",
  4005: "too many sessions",
  4006: "the ticket is done",
};

/* What to do after a close. 43xx needs nothing of its own, since every connection fetches a new token. */
function verdictOn(code) {
  if (code >= 4000 && code < 4100) return "stop";
  if (code >= 4200 && code < 4400) return "again";
  return "back off";
}

/* One WebSocket from its hello to its end. handlers: welcome(line, frame), frame(line, frame), closed(line, code). */
class Line {
  constructor(url, hello, handlers) {
    this.handlers = handlers;
    this.asked = new Map();
    this.number = 0;
    this.welcomed = false;
    this.socket = new WebSocket(url, SUBPROTOCOL);
    this.socket.onopen = () => this.send({ t: "hello", v: 1, ...hello });
    this.socket.onmessage = (event) => this.read(event.data);
    this.socket.onclose = (event) => this.end(event.code);
    this.timer = setTimeout(() => this.drop(1006), WELCOME_TIMEOUT_MS);
  }

  send(frame) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(frame));
  }

  /* Sends a frame with a number; resolves with the "ok" that answers it, rejects with an Error. */
  ask(frame) {
    return new Promise((resolve, reject) => {
      if (this.socket.readyState !== WebSocket.OPEN) {
        reject(new Error("not connected"));
        return;
      }
      this.number += 1;
      this.asked.set(this.number, { resolve, reject });
      this.send({ ...frame, re: this.number });
    });
  }

  read(text) {
    const value = JSON.parse(text);
    for (const frame of Array.isArray(value) ? value : [value]) {
      if (frame.t === "welcome") {
        clearTimeout(this.timer);
        this.welcomed = true;
        this.handlers.welcome(this, frame);
      } else if ((frame.t === "ok" || frame.t === "err") && this.asked.has(frame.re)) {
        const { resolve, reject } = this.asked.get(frame.re);
        this.asked.delete(frame.re);
        if (frame.t === "ok") resolve(frame);
        else reject(new Error(frame.title || frame.code));
      } else {
        this.handlers.frame(this, frame);
      }
    }
  }

  end(code) {
    clearTimeout(this.timer);
    this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    for (const { reject } of this.asked.values()) reject(new Error("the connection was lost"));
    this.asked.clear();
    this.handlers.closed(this, code);
  }

  /* Ends it now, without waiting for the peer: to its owner it closed with this code. */
  drop(code) {
    this.socket.close();
    this.end(code);
  }
}

/* events: state(kind, words), welcome(frame), message(frame), gap(frame), groups().
 * kind: "off", "wait", "on", "stop". */
export class Session {
  constructor(events) {
    this.events = events;
    this.line = null; // carries the session
    this.next = null; // on its way up
    /* name → {own, grant, isIn}. own: joined by ourselves, so `groups` asks for it again; another one the server
     * joined us to, and its grant does. */
    this.groups = new Map();
    this.round = 0; // an answer that comes for an older one is ignored
    this.retry = { base_ms: 500, max_ms: 30000 };
    this.attempts = 0;
    this.connecting = false;
    this.timer = undefined; // set while a connect is due
    this.origin = `page-${crypto.randomUUID()}`;
    this.forget();
    window.addEventListener("online", () => this.hurry());
  }

  /* Nothing of the past counts any more: for another user. */
  forget() {
    this.epoch = null;
    this.positions = {};
    this.seen = new Set();
    this.groups.clear();
  }

  start(user) {
    this.stop("off", "disconnected");
    this.user = user;
    this.attempts = 0;
    this.connect();
  }

  stop(kind, words) {
    this.round += 1;
    this.connecting = false;
    clearTimeout(this.timer);
    this.timer = undefined;
    const lines = [this.next, this.line];
    this.line = this.next = null;
    for (const line of lines) if (line) line.drop(1000);
    this.events.state(kind, words);
  }

  /* What a lost network does: no close frame is believed, and the session comes back by itself. */
  lose() {
    if (this.line) this.line.drop(1006);
  }

  isActive() {
    return this.line !== null || this.next !== null || this.timer !== undefined || this.connecting;
  }

  async connect() {
    const round = ++this.round;
    this.timer = undefined;
    this.connecting = true;
    if (!this.line) this.events.state("wait", "connecting");
    let credential;
    try {
      credential = await fetchToken(this.user);
    } catch (error) {
      if (round !== this.round) return;
      this.connecting = false;
      if (error.isFinal) this.stop("stop", error.message);
      else if (!this.line) this.backOff("the gateway can't be reached");
      return;
    }
    if (round !== this.round) return;
    this.connecting = false;
    this.open(credential);
  }

  open(credential) {
    const url = new URL(`/v1/ws?app=${encodeURIComponent(credential.app)}`, location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    this.next = new Line(url, this.hello(credential.token), {
      welcome: (line, frame) => this.onWelcome(line, frame),
      frame: (line, frame) => this.onFrame(line, frame),
      closed: (line, code) => this.onClosed(line, code),
    });
  }

  hello(token) {
    const hello = { token, origin: this.origin };
    const own = [...this.groups].filter(([, group]) => group.own).map(([name]) => name);
    const grants = [...this.groups.values()].filter(({ own, grant }) => grant && !own).map(({ grant }) => grant);
    for (const group of this.groups.values()) group.isIn = false;
    if (own.length) hello.groups = own;
    if (grants.length) hello.grants = grants;
    if (this.epoch) hello.resume = { epoch: this.epoch, pos: this.positions };
    return hello;
  }

  onWelcome(line, frame) {
    const old = this.line;
    this.line = line;
    this.next = null;
    if (old) old.socket.close(1000); // after a goaway: its last frames may still arrive
    this.welcomedAt = Date.now();
    this.retry = { ...this.retry, ...frame.retry };
    if (frame.resumed === "none") this.positions = {};
    this.take(frame.epoch, frame.pos); // on a resume: where the replay starts
    this.events.welcome(frame);
    this.events.state("on", "connected");
  }

  /* Of another history the old positions mean nothing. */
  take(epoch, positions) {
    if (epoch && epoch !== this.epoch) {
      this.epoch = epoch;
      this.positions = {};
    }
    Object.assign(this.positions, positions);
  }

  onFrame(line, frame) {
    switch (frame.t) {
      case "msg":
        this.onMessage(line, frame);
        break;
      case "revoke":
        this.passBy(frame);
        this.events.revoke(frame);
        break;
      case "pos":
        this.take(frame.epoch, frame.pos);
        break;
      case "joined":
        this.groups.set(frame.g, { own: this.groups.get(frame.g)?.own ?? false, grant: frame.grant, isIn: true });
        this.events.groups();
        break;
      case "err": // to the hello: this group it may not have any more
      case "left":
        this.groups.delete(frame.g);
        this.events.groups();
        break;
      case "gap":
        if (frame.epoch) this.epoch = frame.epoch; // positions of other queues stay good
        if (frame.to) this.positions[frame.q] = frame.to;
        this.events.gap(frame);
        break;
      case "goaway":
        this.onGoaway(line, frame);
        break;
      case "expiring":
        this.refresh(line);
        break;
    }
  }

  /* A message, or the cancelling of one, has a place in its queue. */
  passBy(frame) {
    if (frame.pos) {
      const [queue, position] = frame.pos.split(":", 2);
      this.positions[queue] = position;
    }
  }

  onMessage(line, frame) {
    this.passBy(frame);
    if (frame.ack) line.send({ t: "ack", ids: [frame.id] });
    if (frame.id && this.seen.has(frame.id)) return;
    if (frame.id) this.remember(frame.id);
    this.events.message(frame);
  }

  remember(id) {
    this.seen.add(id);
    if (this.seen.size > REMEMBERED_IDS) this.seen.delete(this.seen.values().next().value);
  }

  /* The new connection is opened first, at the moment that the gateway assigned; then the old one goes. */
  onGoaway(line, frame) {
    if (line !== this.line) return;
    this.events.state("on", "connected; the gateway is about to stop");
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.connect(), frame.slot_ms ?? 0);
  }

  async refresh(line) {
    try {
      const { token } = await fetchToken(this.user);
      await line.ask({ t: "refresh", token });
    } catch {
      // The gateway then closes with 4300, and the next connection brings a new token.
    }
  }

  onClosed(line, code) {
    if (line !== this.line && line !== this.next) return; // its successor has taken over
    if (line === this.next) this.next = null;
    else this.line = null;
    if (line.welcomed) this.dropStaleGroups();
    if (verdictOn(code) === "stop") {
      this.stop("stop", `stopped: ${STOP_WORDS[code] ?? `close code ${code}`}`);
    } else if (!this.line && !this.next && !this.connecting) {
      this.comeBack(line, code);
    }
  }

  /* Those that the server was shown a grant for and did not join us to. */
  dropStaleGroups() {
    for (const [name, group] of this.groups) if (!group.own && !group.isIn) this.groups.delete(name);
  }

  comeBack(line, code) {
    clearTimeout(this.timer);
    if (line.welcomed && Date.now() - this.welcomedAt > STABLE_MS) this.attempts = 0;
    if (verdictOn(code) === "again" && this.attempts === 0) {
      this.attempts = 1;
      this.connect();
    } else {
      this.backOff(code === 1006 ? "the line was lost" : `closed with ${code}`);
    }
  }

  /* Half of the delay is random, so that many clients don't come back together. */
  backOff(why) {
    const full = Math.min(this.retry.max_ms, this.retry.base_ms * 2 ** this.attempts);
    const delay = full / 2 + (Math.random() * full) / 2;
    this.attempts += 1;
    this.events.state("wait", `${why}; again in ${(delay / 1000).toFixed(1)} s`);
    this.timer = setTimeout(() => this.connect(), delay);
  }

  hurry() {
    if (this.timer === undefined || this.line) return;
    clearTimeout(this.timer);
    this.attempts = 0;
    this.connect();
  }

  async join(group) {
    if (!this.line) throw new Error("not connected");
    await this.line.ask({ t: "join", g: group });
    this.groups.set(group, { ...this.groups.get(group), own: true, isIn: true });
    this.events.groups();
  }

  async leave(group) {
    if (!this.line) throw new Error("not connected");
    await this.line.ask({ t: "leave", g: group });
    this.groups.delete(group);
    this.events.groups();
  }
}

/* {"token", "app"}; what the gateway refuses for good is an Error with isFinal. */
async function fetchToken(user) {
  const response = await fetch("/demo/token", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ user }),
  });
  const body = await response.json();
  if (response.ok) return body;
  const error = new Error(body.detail || body.title);
  error.isFinal = response.status < 500 && response.status !== 429;
  throw error;
}

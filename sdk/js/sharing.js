/* One session for all tabs. Who holds it is the *hub*: a SharedWorker, or the tab that has a Web Lock (the browser gives
 * it to another tab when that one is gone, crashed too). Tabs and hub talk by messages, over ports or a BroadcastChannel:
 *   tab → hub   {op: hello|join|leave|send|ack|fail|wake|token|bye, tab, n, …}; n: to be answered
 *   hub → tab   {to, n, ok|error} answers; {to, ev, value, for}: to undefined is all; ev "who": say hello again */
import { Engine, TidegateError } from "./engine.js";
import { Track } from "./track.js";

const TOKEN_MS = 10000;
const locks = () => globalThis.navigator?.locks;
const lockOf = (tab) => `tidegate-tab:${tab}`;
const hubLockOf = (name) => `${name}:worker`;

/* ---- the hub's side ---- */

export class Hub {
  /* post(message) reaches the tabs. */
  constructor(options, post, track) {
    this.tabs = new Map(); // tab → Set of group names
    this.tokens = new Map();
    this.post = post;
    this.number = 0;
    const token = options.hasToken ? () => this.token() : undefined;
    this.engine = new Engine({ ...options, token }, (ev, value) => this.post({ ev, value, for: this.readers(value) }), track);
  }

  /* Of a message to a group that some tab joined: those tabs. All see it pass, for their positions. */
  readers({ g }) {
    if (!g || !this.engine?.groups.get(g)?.own) return undefined;
    return [...this.tabs].flatMap(([tab, names]) => (names.has(g) ? [tab] : []));
  }

  /* Any tab can fetch one: the youngest is asked, and all when it says nothing (it may be frozen). */
  token() {
    return new Promise((resolve, reject) => {
      const n = ++this.number;
      const ask = (to) => this.post({ to, ev: "token", value: n });
      const timers = [
        setTimeout(ask, TOKEN_MS / 4),
        setTimeout(() => this.tokens.delete(n) && reject(new TidegateError("token_timeout")), TOKEN_MS),
      ];
      this.tokens.set(n, (message) => {
        timers.forEach(clearTimeout);
        this.tokens.delete(n);
        if (message.error) reject(Object.assign(new TidegateError("token", message.error), { final: message.final }));
        else resolve(message.token);
      });
      ask([...this.tabs.keys()].pop());
    });
  }

  take(message) {
    const { op, tab, n } = message;
    const answer = (promise) =>
      promise.then(
        () => this.post({ to: tab, n, ok: 1 }),
        ({ code, message: words }) => this.post({ to: tab, n, error: { code, words } }),
      );
    if (op === "hello") this.hello(message);
    else if (op === "bye") this.bye(tab);
    else if (op === "token") this.tokens.get(n)?.(message);
    else if (op === "wake") this.engine.wake();
    else if (op === "ack" || op === "fail") this.engine[op](message.id);
    else if (op === "send") answer(this.engine.send(message.type, message.data));
    else if (op === "join") answer(this.join(tab, message.g, message.token));
    else if (op === "leave") answer(this.leave(tab, message.g));
  }

  hello({ tab, groups }) {
    if (!this.tabs.has(tab)) {
      this.tabs.set(tab, new Set());
      locks()?.request(lockOf(tab), () => this.bye(tab)); // granted when the tab is gone
    }
    for (const [name, token] of groups) this.join(tab, name, token).catch(() => {});
    const { state, track } = this.engine;
    this.post({ to: tab, ev: "track", value: { epoch: track.epoch, pos: track.pos } });
    if (state) this.post({ to: tab, ev: "state", value: state });
  }

  bye(tab) {
    const names = this.tabs.get(tab);
    this.tabs.delete(tab);
    for (const name of names ?? []) this.leaveUnlessWanted(name);
    if (!this.tabs.size) this.onEmpty?.();
  }

  join(tab, name, token) {
    this.tabs.get(tab)?.add(name);
    return this.engine.groups.get(name)?.own && !token ? Promise.resolve() : this.engine.join(name, token);
  }

  leave(tab, name) {
    this.tabs.get(tab)?.delete(name);
    return this.leaveUnlessWanted(name);
  }

  async leaveUnlessWanted(name) {
    for (const names of this.tabs.values()) if (names.has(name)) return;
    await this.engine.leave(name);
  }
}

/* ---- a tab's side ---- */

/* What a tab has in an Engine's place: the same methods, by messages. */
class Remote {
  constructor(options, tell, tab, track) {
    this.options = options;
    this.tell = tell;
    this.tab = tab;
    this.track = track;
    this.groups = new Map();
    this.asked = new Map();
    this.number = 0;
  }

  greet() {
    this.up({ op: "hello", groups: [...this.groups] });
  }

  take(message) {
    if (message.to !== undefined && message.to !== this.tab) return;
    const { ev, value, n } = message;
    if (n !== undefined) this.onAnswer(n, message.error);
    else if (ev === "who") this.onNewHub();
    else if (ev === "token") this.giveToken(value);
    else if (ev === "track") this.track.move(value.epoch, value.pos);
    else this.onEvent(ev, value, message.for);
  }

  onEvent(ev, value, readers) {
    const isNew = !value.t || this.track.take(value);
    if (ev === "groups") this.keepGroups(value);
    else if (isNew && (!readers || readers.includes(this.tab))) this.tell(ev, value);
  }

  /* The hub's list is of all tabs. */
  keepGroups(names) {
    for (const name of this.groups.keys()) if (!names.includes(name)) this.groups.delete(name);
    this.tell("groups", [...this.groups.keys()]);
  }

  async giveToken(n) {
    try {
      this.up({ op: "token", n, token: await this.options.token() });
    } catch (error) {
      this.up({ op: "token", n, error: String(error?.message || error), final: error?.final });
    }
  }

  onAnswer(n, error) {
    const asked = this.asked.get(n);
    this.asked.delete(n);
    if (error) asked?.reject(new TidegateError(error.code, error.words));
    else asked?.resolve();
  }

  /* The tab that held the session is gone, with what it was asked. */
  onNewHub() {
    this.reject();
    this.greet();
  }

  reject() {
    for (const { reject } of this.asked.values()) reject(new TidegateError("unknown"));
    this.asked.clear();
  }

  ask(message) {
    return new Promise((resolve, reject) => {
      const n = ++this.number;
      this.asked.set(n, { resolve, reject });
      this.up({ ...message, n });
    });
  }

  join(g, token) {
    this.groups.set(g, token);
    return this.ask({ op: "join", g, token });
  }

  leave(g) {
    this.groups.delete(g);
    return this.ask({ op: "leave", g });
  }

  send(type, data) {
    return this.ask({ op: "send", type, data });
  }

  ack(id) {
    this.up({ op: "ack", id });
  }

  fail(id) {
    this.track.forget(id);
    this.up({ op: "fail", id });
  }

  wake() {
    this.up({ op: "wake" });
  }

  close() {
    this.isClosed = true;
    this.up({ op: "bye" });
    this.release?.();
  }
}

/* What crosses to a worker: no functions; and no tag of a page, since what the gateway leaves out for one tab the others
 * would miss. */
const plain = ({ token, share, origin, ...options }) => ({ ...options, url: String(options.url), hasToken: !!token });

class WorkerRemote extends Remote {
  constructor(name, script, ...rest) {
    super(...rest);
    this.name = name;
    this.script = script;
    this.start();
  }

  /* Throws where a script of another origin may not be a worker. */
  start() {
    this.port = new SharedWorker(this.script, { type: "module", name: this.name }).port;
    this.port.onmessage = ({ data }) => (data.ev === "alive" ? this.watch() : this.take(data));
    this.port.postMessage({ op: "options", options: plain(this.options), track: this.track.copy });
    this.greet();
  }

  /* A worker that crashed (it lives in the process of some tab) says nothing: but its lock is free. */
  watch() {
    locks().request(hubLockOf(this.name), () => {
      if (this.isClosed) return;
      this.port.close();
      this.reject();
      setTimeout(() => this.start()); // when the lock is free again, for the next worker
    });
  }

  up(message) {
    this.port.postMessage({ ...message, tab: this.tab });
  }
}

/* Whoever gets the lock is the hub, and its own tab like the others. */
class LockRemote extends Remote {
  constructor(name, ...rest) {
    super(...rest);
    this.channel = new BroadcastChannel(name);
    this.channel.onmessage = ({ data }) => {
      if (data.op) this.hub?.take(data);
      else this.take(data);
    };
    this.abort = new AbortController();
    locks()
      .request(name, { signal: this.abort.signal }, () => this.lead())
      .catch(() => {});
    this.greet();
  }

  lead() {
    const down = (message) => {
      this.channel.postMessage(message);
      this.take(message);
    };
    this.hub = new Hub(plain(this.options), down, new Track(this.track.copy));
    down({ ev: "who" });
    return new Promise((resolve) => (this.resign = resolve));
  }

  up(message) {
    const signed = { ...message, tab: this.tab };
    if (this.hub) this.hub.take(signed);
    else this.channel.postMessage(signed);
  }

  close() {
    super.close();
    this.hub?.engine.close();
    this.hub = undefined;
    this.resign?.();
    this.abort.abort();
    this.channel.close();
  }
}

/* A lock that this tab holds while it lives tells the hub of its end. */
const holdLock = (tab) =>
  new Promise((resolve) => locks().request(lockOf(tab), () => new Promise((release) => resolve(release))));

/* Resolves with an Engine or with what stands for one. script: this module's own address. */
export async function share(options, tell, script) {
  const { share: name, sharing = "auto" } = options;
  if (!name || options.ticket || !locks() || sharing === "none") return new Engine(options, tell);
  const tab = crypto.randomUUID();
  const release = await holdLock(tab);
  const full = `tidegate:${new URL(options.url).origin}:${options.app ?? ""}:${name}`;
  let remote;
  if (sharing !== "locks" && globalThis.SharedWorker) {
    try {
      remote = new WorkerRemote(full, script, options, tell, tab, new Track());
    } catch {
      /* A script of another origin may not be one. */
    }
  }
  remote ??= new LockRemote(full, options, tell, tab, new Track());
  return Object.assign(remote, { release });
}

/* This module as the script of a SharedWorker. */
export function serveTabs(scope) {
  const ports = new Map(); // port → tab
  let hub;
  const post = (message) => {
    for (const [port, tab] of ports) if (message.to === undefined || message.to === tab) port.postMessage(message);
  };
  const start = ({ options, track }) => {
    hub = new Hub(options, post, new Track(track));
    hub.onEmpty = () => {
      hub.engine.close();
      hub = undefined;
    };
  };
  const alive = new Promise((resolve) =>
    locks().request(hubLockOf(scope.name), () => new Promise(() => resolve())),
  );
  scope.onconnect = ({ ports: [port] }) => {
    let options;
    port.onmessage = ({ data }) => {
      if (data.op === "options") return void (options = data);
      ports.set(port, data.tab);
      if (!hub && data.op === "hello") start(options);
      hub?.take(data);
      if (data.op === "bye") ports.delete(port);
    };
    alive.then(() => port.postMessage({ ev: "alive" }));
  };
}

/* One session for all tabs. Who holds it is the *hub*: a SharedWorker, or the tab that has a Web Lock (the browser gives
 * it to another tab when that one is gone, crashed too). Tabs and hub talk by messages, over ports or a BroadcastChannel:
 *   tab → hub   {op: hello|join|leave|send|ack|fail|wake|check|token|bye, tab, n, …}; n: to be answered
 *   hub → tab   {to, n, ok|error} answers; {to, ev, value, for}: to undefined is all; ev "who": say hello again;
 *               "track": hello was heard; "alive"; "groups": those of the tab it is sent to; "token": fetch one, of group g */
import { Engine, TidegateError, uid } from "./engine.js";
import { Track } from "./track.js";

const ASK_REST_MS = 2500; // for a tab to fetch a token; the engine limits the whole
const GREET_MS = 200; // in which the tabs tell a hub that took over what they want
const START_MS = 3000; // for a worker to start
const CHECK_MS = 20000;
const HEAR_MS = 3000; // after which a hub that says nothing is frozen
const locks = () => globalThis.navigator?.locks;
const lockOf = (tab) => `tidegate-tab:${tab}`;
const hubLockOf = (name) => `${name}:worker`;

/* ---- the hub's side ---- */

export class Hub {
  /* post(message) reaches the tabs. */
  constructor(options, post, track) {
    this.tabs = new Map(); // tab → {groups: name → token, hasToken}
    this.tokens = new Map();
    this.post = post;
    this.number = 0;
    this.start(options, track);
  }

  start(options, track) {
    const whole = { ...options, token: () => this.token(), after: track.epoch ? GREET_MS : 0 };
    this.engine = new Engine(whole, (ev, value) => this.tell(ev, value), track);
  }

  tell(ev, value) {
    if (ev === "groups") return this.tellGroups();
    if (ev !== "left") return this.post({ ev, value, for: this.readers(value) });
    for (const [to, { groups }] of this.tabs) if (groups.delete(value)) this.post({ to, ev, value });
  }

  /* To each tab its own, and what the API joined the session to. */
  tellGroups() {
    const granted = [...(this.engine?.groups ?? [])].flatMap(([name, { own }]) => (own ? [] : [name]));
    for (const [to, { groups }] of this.tabs) this.post({ to, ev: "groups", value: [...groups.keys(), ...granted] });
  }

  /* Of what concerns a group that some tab joined: those tabs. All see it pass, for their positions. */
  readers({ g }) {
    if (!g || !this.engine?.groups.get(g)?.own) return undefined;
    return [...this.tabs].flatMap(([tab, { groups }]) => (groups.has(g) ? [tab] : []));
  }

  /* The session's, or that of group g. The youngest tab that can is asked, and all when it fails or says nothing (it may
   * be frozen). */
  token(g) {
    const able = [...this.tabs].filter(([, tab]) => (g ? tab.groups.get(g) === true : tab.hasToken)).map(([tab]) => tab);
    if (!able.length) return this.hasToken ? Promise.reject(new TidegateError("token")) : Promise.resolve();
    return new Promise((resolve, reject) => {
      const n = ++this.number;
      const failed = new Set();
      const ask = (tabs) => tabs.forEach((to) => this.post({ to, ev: "token", value: n, g }));
      const askRest = () => ask(able.filter((tab) => !failed.has(tab)));
      const timer = setTimeout(askRest, ASK_REST_MS);
      this.tokens.set(n, ({ tab, token, error, final }) => {
        if (error) {
          failed.add(tab);
          if (failed.size === 1) askRest();
          if (failed.size < able.length) return;
        }
        clearTimeout(timer);
        this.tokens.delete(n);
        if (error) reject(Object.assign(new TidegateError("token", error), { final }));
        else resolve(token);
      });
      ask(able.slice(-1));
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
    else if (op === "check") setTimeout(() => this.post({ to: tab, ev: "alive" })); // a frozen tab has messages, and no timers
    else if (op === "ack" || op === "fail") this.engine[op](message.id);
    else if (op === "send") answer(this.engine.send(message.type, message.data));
    else if (op === "join") answer(this.join(tab, message.g, message.token));
    else if (op === "leave") answer(this.leave(tab, message.g));
  }

  hello({ tab, groups, options }) {
    if (!this.tabs.has(tab)) {
      this.tabs.set(tab, { groups: new Map(), hasToken: options.hasToken });
      locks()?.request(lockOf(tab), () => this.bye(tab)); // granted when the tab is gone
      this.hasToken ||= options.hasToken; // the session of a user never goes on as an anonymous one
      /* It was stopped; a page that is opened after that begins another session, for all. */
      if (this.engine.isClosed) {
        this.start(options, this.engine.track);
        for (const [other, { groups }] of this.tabs) this.joinAll(other, groups);
      }
    }
    this.joinAll(tab, groups);
    const { state, track } = this.engine;
    this.post({ to: tab, ev: "track", value: { epoch: track.epoch, pos: track.pos } });
    if (state) this.post({ to: tab, ev: "state", value: state });
  }

  joinAll(tab, groups) {
    for (const [name, token] of groups) this.join(tab, name, token).catch(() => {});
  }

  bye(tab) {
    const names = this.tabs.get(tab)?.groups.keys();
    if (!this.tabs.delete(tab)) return;
    for (const name of names) this.leaveUnlessWanted(name);
    if (!this.tabs.size) this.onEmpty?.();
  }

  /* token: true when the tab has a function that fetches one. */
  join(tab, name, token) {
    this.tabs.get(tab)?.groups.set(name, token);
    return this.engine.join(name, token === true ? () => this.token(name) : token);
  }

  leave(tab, name) {
    this.tabs.get(tab)?.groups.delete(name);
    return this.leaveUnlessWanted(name);
  }

  async leaveUnlessWanted(name) {
    for (const { groups } of this.tabs.values()) if (groups.has(name)) return this.tellGroups();
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
    this.groups = new Map(); // name → token, of this tab
    this.asked = new Map(); // number → {message, isSent, resolve, reject}
    this.number = 0;
    this.isHeard = false; // by a hub; until then what is asked waits
  }

  greet() {
    const groups = [...this.groups].map(([name, token]) => [name, sendable(token)]);
    this.up({ op: "hello", groups, options: plain(this.options) });
  }

  take(message) {
    if (message.to !== undefined && message.to !== this.tab) return;
    const { ev, value, n } = message;
    if (n !== undefined) this.onAnswer(n, message.error);
    else if (ev === "who") this.onNewHub();
    else if (ev === "token") this.giveToken(value, message.g);
    else if (ev === "track") this.onHeard(value);
    else if (ev === "alive") this.isAlive = true;
    else this.onEvent(ev, value, message.for);
  }

  onEvent(ev, value, readers) {
    const isNew = !value.t || this.track.take(value);
    if (ev === "groups") this.tell(ev, [...new Set([...this.groups.keys(), ...value])]); // what was joined since, too
    else if (isNew && (!readers || readers.includes(this.tab))) {
      if (ev === "left") this.groups.delete(value);
      this.tell(ev, value);
    }
  }

  onHeard({ epoch, pos }) {
    this.isHeard = true;
    this.track.move(epoch, pos);
    for (const [n, asked] of this.asked) if (!asked.isSent) this.pass(n, asked);
  }

  async giveToken(n, g) {
    try {
      this.up({ op: "token", n, token: await (g ? this.groups.get(g) : this.options.token)() });
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
    this.lose();
    this.greet();
  }

  /* Of what was said nobody knows; a join can be asked again. */
  lose() {
    this.isHeard = false;
    for (const [n, asked] of this.asked) {
      if (!asked.isSent || asked.message.op === "join") asked.isSent = false;
      else this.onAnswer(n, { code: "unknown" });
    }
  }

  ask(message) {
    if (this.isClosed) return Promise.reject(new TidegateError("closed"));
    return new Promise((resolve, reject) => {
      const n = ++this.number;
      const asked = { message, resolve, reject };
      this.asked.set(n, asked);
      if (this.isHeard) this.pass(n, asked);
    });
  }

  pass(n, asked) {
    asked.isSent = true;
    this.up({ ...asked.message, n });
  }

  join(g, token) {
    this.groups.set(g, token);
    return this.ask({ op: "join", g, token: sendable(token) });
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
    for (const n of [...this.asked.keys()]) this.onAnswer(n, { code: "closed" });
    this.release?.();
  }
}

/* What crosses to a worker: no functions; and no tag of a page, since what the gateway leaves out for one tab the others
 * would miss. */
const plain = ({ token, share, origin, workerUrl, ...options }) => ({ ...options, url: String(options.url), hasToken: !!token });
const sendable = (token) => (typeof token === "function" ? true : token);

class WorkerRemote extends Remote {
  constructor(name, script, ...rest) {
    super(...rest);
    this.name = name;
    this.script = script;
    this.start();
  }

  /* Throws where a script of another origin may not be a worker. `alive` rejects where it can't start: a policy (CSP), no
   * such file, a bundle that is none. */
  start() {
    const worker = new SharedWorker(this.script, { type: "module", name: this.name });
    this.port = worker.port;
    this.alive = new Promise((resolve, reject) => {
      worker.onerror = reject;
      setTimeout(reject, START_MS);
      this.port.onmessage = ({ data }) => {
        if (data.ev !== "alive") return this.take(data);
        resolve();
        if (this.isClosed) return;
        this.watch();
        this.greet();
      };
    });
    this.alive.catch(() => {});
    this.port.postMessage({ op: "options", options: plain(this.options), track: this.track.copy });
  }

  /* A worker that crashed (it lives in the process of some tab) says nothing: but its lock is free. */
  watch() {
    locks().request(hubLockOf(this.name), () => {
      if (this.isClosed) return;
      this.port.close();
      this.lose();
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
    this.name = name;
    this.channel = new BroadcastChannel(name);
    this.channel.onmessage = ({ data }) => {
      if (data.op) this.hub?.take(data);
      else this.take(data);
    };
    this.compete();
    this.checker = setInterval(() => this.check(), CHECK_MS);
    this.greet();
  }

  compete() {
    this.abort = new AbortController();
    this.lock({ signal: this.abort.signal });
  }

  lock(options) {
    locks()
      .request(this.name, options, () => this.lead())
      .catch(() => this.hub && this.yield()); // it was stolen; or, without a hub, no longer asked for
  }

  /* To the tab that found this one frozen. */
  yield() {
    this.hub.engine.close();
    this.hub = undefined;
    this.compete();
    this.onNewHub();
  }

  wake() {
    super.wake();
    this.check();
  }

  /* A browser may freeze the tab that has the lock: then it holds the others up, and another one takes it. */
  check() {
    if (this.hub || this.isClosed) return;
    this.isAlive = false;
    this.up({ op: "check" });
    setTimeout(() => {
      if (this.isAlive || this.hub || this.isClosed) return;
      this.abort.abort();
      this.lock({ steal: true });
    }, HEAR_MS);
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
    clearInterval(this.checker);
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
  const { share: name, workerUrl, sharing = "auto" } = options;
  if (!name || options.ticket || !locks() || sharing === "none") return new Engine(options, tell);
  const tab = uid();
  const release = await holdLock(tab);
  const full = `tidegate:${new URL(options.url).origin}:${options.app ?? ""}:${name}`;
  let remote;
  if (sharing !== "locks" && globalThis.SharedWorker) {
    try {
      remote = new WorkerRemote(full, workerUrl ?? script, options, tell, tab, new Track());
      await remote.alive;
    } catch {
      if (remote) remote.isClosed = true; // should it start late
      remote = undefined;
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

/* The browser's side of tidegate: messages that a business system pushes, in order, each once, over whatever network
 * there is. See README.md; types are in tidegate.d.ts. */
import { TidegateError, uid } from "./engine.js";
import { serveTabs, share } from "./sharing.js";

export { TidegateError };

/* In session storage, so that a reload is the same page to a ticket. */
function claimOf(ticket) {
  const key = `tidegate:claim:${ticket.slice(-32)}`;
  try {
    return (sessionStorage[key] ??= uid());
  } catch {
    return uid(); // storage is denied: a reload will be another page
  }
}

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

/* What the application sees of a frame. */
const messageOf = (frame) => ({
  id: frame.id,
  type: frame.type,
  group: frame.g,
  time: frame.ts,
  trace: frame.tp,
  final: !!frame.final,
  data: frame.data_base64 === undefined ? frame.data : bytes(frame.data_base64),
});

/* Handlers by name. */
class Handlers {
  #sets = new Map();

  add(name, handler) {
    if (!this.#sets.has(name)) this.#sets.set(name, new Set());
    this.#sets.get(name).add(handler);
    return () => this.#sets.get(name).delete(handler);
  }

  /* What one throws is told to the page as any error is; the others are called all the same. */
  call(name, ...values) {
    return [...(this.#sets.get(name) ?? [])].map(async (handler) => {
      try {
        await handler(...values);
      } catch (error) {
        reportError(error);
        throw error;
      }
    });
  }
}

export class Tidegate {
  #events = new Handlers();
  #types = new Handlers();
  #ready; // resolves with what holds the session: an Engine, or a Remote of one
  #core;
  #listening = new AbortController();

  constructor(url, options = {}) {
    const { ticket } = options;
    this.origin = options.origin ?? `page-${uid()}`;
    this.state = { state: "connecting" };
    this.groups = [];
    const whole = {
      ...options,
      url: new URL(url, location.href),
      claim: ticket && (options.claim ?? claimOf(ticket)),
      origin: this.origin,
    };
    /* Handlers that are added right behind the constructor must miss nothing. */
    this.#ready = Promise.resolve()
      .then(() => share(whole, (name, value) => this.#take(name, value), import.meta.url))
      .then((core) => (this.#core = core));
    this.#ready.catch(({ message }) => this.#take("state", { state: "closed", why: message }));
    for (const name of options.groups ?? []) this.join(name).catch(() => {}); // `refused` tells it
    this.#listen();
  }

  /* Lifecycle: state, message, gap, revoke, groups, welcome, pos. Returns what takes the handler off again. */
  on(event, handler) {
    return this.#events.add(event, handler);
  }

  /* Messages of one type. handler(data, message); a promise that it returns is waited for before a message that asks
   * for it is confirmed, and a rejection leaves it unconfirmed. */
  onMessage(type, handler) {
    return this.#types.add(type, handler);
  }

  async join(group, token) {
    return (await this.#ready).join(group, token);
  }

  async leave(group) {
    return (await this.#ready).leave(group);
  }

  async send(type, data) {
    return (await this.#ready).send(type, data);
  }

  async close() {
    this.#listening.abort();
    (await this.#ready.catch(() => {}))?.close();
    this.#take("state", { state: "closed", code: 1000 });
  }

  #listen() {
    const { signal } = this.#listening;
    const wake = () => this.#core?.wake();
    const seen = () => document.visibilityState === "visible" && wake();
    addEventListener("online", wake, { signal });
    addEventListener("pageshow", seen, { signal });
    addEventListener("pagehide", ({ persisted }) => persisted || this.#core?.close(), { signal });
    document.addEventListener("visibilitychange", seen, { signal });
    document.addEventListener("resume", seen, { signal });
  }

  #take(name, value) {
    if (name === "message") return this.#onMessage(value);
    if (name === "state") this.state = value;
    if (name === "groups") this.groups = value;
    this.#events.call(name, value).forEach((done) => done.catch(() => {}));
  }

  #onMessage(frame) {
    const message = messageOf(frame);
    const done = [...this.#events.call("message", message), ...this.#types.call(message.type, message.data, message)];
    const asks = frame.ack || frame.final;
    Promise.all(done).then(
      () => asks && this.#core[done.length ? "ack" : "fail"](frame.id),
      () => asks && this.#core.fail(frame.id),
    );
  }
}

if (globalThis.SharedWorkerGlobalScope && self instanceof SharedWorkerGlobalScope) serveTabs(self);

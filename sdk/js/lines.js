/* A line is one connection, from its hello to its end: a WebSocket, or an event stream with POST beside it. Both carry
 * the same frames. handlers: frame(line, frame), end(line, code, ms: no sooner again). A line ends once; nothing comes from it after that.
 * say(frame, onSent): false when it can't. */

const SUBPROTOCOL = "tidegate.v1.json";
export const LOST = 1006; // what a WebSocket calls an end without a close frame

const FIRST_POLL_MS = 500;

const PAUSE_MS = 250; // between two polls
const REQUEST_MS = 15000; // what a request may take beyond the time it is meant to

/* A status that refuses a stream, as the close code that a WebSocket, which shows no status, would end with. */
const REFUSED = { 401: 4300, 403: 4003, 410: 4006 };

const base64url = (text) =>
  btoa(String.fromCharCode(...new TextEncoder().encode(text)))
    .replace(/\+/g, "-")
    .replace(/\//g, "_")
    .replace(/=+$/, "");

class Line {
  constructor(options, handlers) {
    this.options = options;
    this.handlers = handlers;
    this.heardAt = Date.now();
    this.isWelcomed = false;
    this.isOver = false;
  }

  take(text) {
    let value;
    this.heardAt = Date.now();
    try {
      value = JSON.parse(text);
    } catch {
      return; // not a frame of this protocol
    }
    for (const frame of Array.isArray(value) ? value : [value]) {
      if (this.isOver) return;
      if (frame.t === "welcome") {
        this.isWelcomed = true;
        this.sid = frame.sid;
      }
      this.handlers.frame(this, frame);
    }
  }

  over(code, ms) {
    if (this.isOver) return;
    this.isOver = true;
    this.shut(code);
    this.handlers.end(this, code, ms);
  }

  /* Ends it from this side, without a word to its owner. */
  close() {
    this.isOver = true;
    this.shut(1000);
  }
}

export class SocketLine extends Line {
  constructor(options, handlers) {
    super(options, handlers);
    this.kind = "websocket";
    const url = options.url("/v1/ws");
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = (this.socket = new WebSocket(url, SUBPROTOCOL));
    socket.onopen = () => this.say({ ...options.hello(this), token: options.token });
    socket.onmessage = (event) => this.take(event.data);
    socket.onclose = (event) => this.over(event.code);
  }

  get isClosing() {
    return this.socket.readyState > 1;
  }

  say(frame, onSent) {
    if (this.socket.readyState !== 1) return false;
    onSent?.();
    this.socket.send(JSON.stringify(frame));
    return true;
  }

  shut(code) {
    this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    this.socket.close(code === LOST ? undefined : 1000);
  }
}

/* fetch() rather than EventSource: it takes a token in a header, and says with what status it was refused. A proxy that
 * holds everything back until a response ends is met by polling: each response ends soon, and the next one goes on. */
export class StreamLine extends Line {
  constructor(options, handlers) {
    super(options, handlers);
    this.kind = options.poll ? "poll" : "sse";
    this.abort = new AbortController();
    this.queue = Promise.resolve();
    this.run();
  }

  headers(more) {
    const { token } = this.options;
    return token ? { Authorization: `Bearer ${token}`, ...more } : more;
  }

  async run() {
    const { poll, hello, url } = this.options;
    do {
      const address = url("/v1/sse");
      const first = poll ? { ...hello(this), grants: undefined } : undefined;
      address.searchParams.set("hello", first ? base64url(JSON.stringify(first)) : "");
      if (poll) address.searchParams.set("poll_ms", this.lastId ? poll : FIRST_POLL_MS); // the welcome is held back, too
      if (this.lastId) address.searchParams.set("last_event_id", this.lastId); // a header would need a preflight
      const limit = poll && setTimeout(() => this.over(LOST), poll + REQUEST_MS);
      try {
        const response = await fetch(address, {
          headers: this.headers(),
          credentials: "include",
          cache: "no-store",
          signal: this.abort.signal,
        });
        if (!response.ok) return this.refused(response);
        /* Else some portal's page answers in the gateway's place. */
        if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) return this.over(LOST);
        await this.read(response.body.getReader());
        if (poll) await new Promise((done) => setTimeout(done, PAUSE_MS));
      } catch {
        this.over(LOST);
      } finally {
        clearTimeout(limit);
      }
    } while (poll && !this.isOver);
    this.over(LOST);
  }

  /* Another ticket can't be fetched, as another token can. */
  refused({ status, headers }) {
    const code = status === 401 && this.options.url("/").searchParams.has("ticket") ? 4004 : REFUSED[status];
    this.over(code ?? LOST, headers.get("Retry-After") * 1000 || 0);
  }

  async read(reader) {
    const decoder = new TextDecoder();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      this.heardAt = Date.now();
      const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) this.event(block);
    }
  }

  event(block) {
    const fields = { event: "message", data: "" };
    for (const line of block.split("\n")) {
      const at = line.indexOf(":");
      if (at > 0) fields[line.slice(0, at)] = line.slice(at + 1).replace(/^ /, "");
    }
    if (fields.id !== undefined) this.lastId = fields.id;
    if (this.isOver) return;
    if (fields.event === "session") {
      this.sid = JSON.parse(fields.data).sid;
      this.say({ ...this.options.hello(this), token: this.options.token });
    } else if (fields.event === "close") {
      this.over(JSON.parse(fields.data).code);
    } else if (fields.event === "message" && fields.data) {
      this.take(fields.data);
    }
  }

  /* One request after the other: of two at once either may be first. */
  say(frame, onSent) {
    if (!this.sid) return false;
    this.queue = this.queue.then(() => {
      if (this.isOver) return;
      onSent?.();
      return this.post(frame);
    });
    return true;
  }

  async post(frame) {
    try {
      const response = await fetch(this.options.url("/v1/up"), {
        method: "POST",
        headers: this.headers({ "Tidegate-Session": this.sid }),
        credentials: "include",
        body: JSON.stringify(frame),
      });
      if (response.ok || this.isOver) return;
      if (response.status === 404) return this.over(LOST);
      const problem = await response.json().catch(() => ({}));
      if (response.status === 401 && frame.t !== "hello") return this.over(4300); // the token ended
      if (frame.t === "hello") return this.over(response.status === 401 ? 4004 : LOST);
      if (frame.re !== undefined) this.take(JSON.stringify({ t: "err", re: frame.re, ...problem }));
    } catch {
      if (!this.isOver) this.over(LOST);
    }
  }

  shut() {
    this.abort.abort();
  }
}

// As much of a browser's EventSource as the scripts of the docs use, for Node, which has none yet.
"use strict";

globalThis.EventSource = class extends EventTarget {
  constructor(url) {
    super();
    this.closing = new AbortController();
    this.read(url).catch(() => {});
  }

  close() {
    this.closing.abort();
  }

  async read(url) {
    const response = await fetch(url, { signal: this.closing.signal });
    const decoder = new TextDecoder();
    let text = "";
    for await (const bytes of response.body) {
      text += decoder.decode(bytes, { stream: true });
      for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
        this.take(text.slice(0, end).split("\n"));
      }
    }
  }

  take(lines) {
    const valueOf = (name) => lines.filter((line) => line.startsWith(`${name}: `)).map((line) => line.slice(name.length + 2));
    const data = valueOf("data");
    if (data.length > 0) {
      const event = new MessageEvent(valueOf("event")[0] ?? "message", { data: data.join("\n"), lastEventId: valueOf("id")[0] ?? "" });
      this.dispatchEvent(event);
      if (event.type === "message") this.onmessage?.(event);
    }
  }
};

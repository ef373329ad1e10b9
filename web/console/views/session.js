// One session: what is known of it, and its frames as they come and go.

import { ApiError, call, get, name, poll } from "../api.js";
import { announce, badge, confirm, h, notice, show } from "../dom.js";
import { bytes, count, duration, time } from "../format.js";
import { appOf, copyButton, facts, link, pretty, transportOf } from "./parts.js";

const EVERY_MS = 5000;
const WAIT_MS = 20000; // of frames
const KEPT = 1000;
const BLIND = "Your role may not read frames: it takes an operator, or a key of the app with the scope read.";

export function mountSession(root, context, sid) {
  const { signal } = context;
  const app = appOf(context);
  const path = `/v1/sessions/${name(sid)}`;
  const about = h("div", { class: "panel" }, h("p", { class: "soft" }, "Loading…"));
  const crumbs = h("span", { class: "row" });
  const kick = h("button", { class: "button danger", type: "button", "data-act": "kick-session", onclick: kickIt }, "Kick…");
  let user = null;

  async function kickIt() {
    const yes = await confirm({ title: "Kick this session?", danger: true, action: "Kick",
      text: "It is closed with 4000. The client library does not come back by itself after that." });
    if (yes) {
      await call("DELETE", path, { query: { app }, signal }).then(() => announce("The session was closed."), context.fail);
    }
  }

  function describe(session) {
    user = session.user ?? null;
    show(crumbs, user !== null && [h("a", { href: link("users", { user }), class: "name" }, user),
      h("span", { class: "soft", "aria-hidden": "true" }, "/")]);
    kick.disabled = false;
    show(about, facts([
      ["User", session.user === undefined ? "Anonymous" : h("a", { href: link("users", { user: session.user }) }, session.user)],
      ["Node", session.node],
      ["Transport", transportOf(session)],
      ["Device", session.device],
      ["Address", session.peer],
      ["Since", session.since_ms && `${time(session.since_ms)} (${duration(Date.now() - session.since_ms)})`],
      ["Waiting", bytes(session.queued_bytes)],
      ["Groups", session.groups.length ? session.groups.join(", ") : "None"],
      ["Attributes", session.attrs && h("code", {}, JSON.stringify(session.attrs))],
    ]));
  }

  function gone(error) {
    if (error.status === 404) {
      kick.disabled = true;
      show(about, h("p", {}, badge("Ended", "calm"), " The session is not there any more."));
      return;
    }
    context.fail(error);
  }

  show(root,
    h("div", { class: "row" },
      h("a", { href: link("users") }, "All users"), h("span", { class: "soft", "aria-hidden": "true" }, "/"), crumbs,
      h("h2", { class: "mono" }, sid),
      context.operates && h("div", { class: "row end" },
        h("a", { class: "button", href: link("send", { to: "sessions", name: sid }) }, "Send…"), kick)),
    about,
    frames(context, path, app, root));
  poll({ load: () => get(path, { query: { app }, signal }), every: EVERY_MS, signal,
    onData: (answer) => { context.ok(); describe(answer); }, onError: gone });
}

// ---- frames ----

function kindOf(frame) {
  if (frame.op !== "text") {
    return frame.code ? `${frame.op} ${frame.code}` : frame.op;
  }
  try {
    const value = JSON.parse(frame.text);
    return Array.isArray(value) ? value.map((one) => one.t).join(" ") : value.t ?? "text";
  } catch {
    return "text";
  }
}

// What tells one frame from the next comes first: a message's type and data, before ids and positions.
function leadOf(value) {
  const { t, type, data, ...rest } = value;
  const words = [type, data === undefined ? undefined : JSON.stringify(data), Object.keys(rest).length ? JSON.stringify(rest) : undefined];
  return words.filter((word) => word !== undefined).join(" ");
}

function previewOf(text) {
  try {
    const value = JSON.parse(text);
    return Array.isArray(value) ? value.map(leadOf).join(", ") : leadOf(value);
  } catch {
    return text;
  }
}

function rowOf(frame) {
  const kind = kindOf(frame);
  const isIn = frame.direction === "in";
  const text = frame.text ?? (frame.hidden ? "not shown: no frame of the protocol" : "");
  const preview = previewOf(text) || text;
  const marks = [frame.cut && badge("cut", "calm"), frame.queued && badge("queued", "warn"),
    frame.hidden && frame.text && badge("secrets hidden", "calm")];
  const body = preview !== text || text.length > 90
    ? h("details", { class: "payload" }, h("summary", { class: "mono" }, preview.length > 90 ? `${preview.slice(0, 90)}…` : preview), h("pre", {}, frame.cut ? text : pretty(text)))
    : h("span", { class: "mono" }, text);
  const element = h("li", { class: `frame ${frame.direction}` },
    h("time", { class: "soft mono", datetime: new Date(frame.at_ms).toISOString() }, new Date(frame.at_ms).toISOString().slice(11, 23)),
    h("span", { class: "direction", title: isIn ? "from the client" : "to the client" }, h("span", { "aria-hidden": "true" }, isIn ? "▲" : "▼"),
      h("span", { class: "unseen" }, isIn ? "from the client" : "to the client")),
    h("span", { class: "kind" }, kind),
    h("span", { class: "number soft" }, bytes(frame.bytes)),
    h("div", { class: "body" }, body, marks));
  return { frame, kind, element, words: `${kind} ${text}`.toLowerCase() };
}

function frames(context, path, app, root) {
  const { signal } = context;
  const items = h("ol");
  const list = h("div", { class: "frames", role: "log", "aria-live": "off", "aria-label": "Frames", tabindex: "0" }, items);
  const status = h("p", { class: "help", role: "status" }, "The watch begins…");
  const filter = h("input", { id: "frame-filter", type: "search", placeholder: "Filter", "aria-label": "Filter frames by text", oninput: draw });
  const controls = h("input", { id: "frame-controls", type: "checkbox", onchange: draw });
  const pause = h("button", { class: "button", type: "button", "aria-pressed": "false", onclick: () => {
    isPaused = !isPaused;
    later = 0;
    pause.textContent = isPaused ? "Resume" : "Pause";
    pause.setAttribute("aria-pressed", String(isPaused));
    tell();
    draw();
  } }, "Pause");
  let rows = [];
  let next = "";
  let missed = 0;
  let isPaused = false;
  let later = 0; // frames that came since the pause

  const copy = copyButton(() => shown().map((row) => JSON.stringify(row.frame)).join("\n"), "Copy", "button");
  const clear = h("button", { class: "button", type: "button", onclick: () => { rows = []; draw(); } }, "Clear");

  const fits = (row) => (controls.checked || !["ping", "pong", "pos"].includes(row.kind))
    && row.words.includes(filter.value.toLowerCase());
  const shown = () => rows.filter(fits);

  // Whoever reads the end stays there.
  function keepingEnd(change) {
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    change();
    if (atEnd) {
      list.scrollTop = list.scrollHeight;
    }
  }

  function sayEmpty() {
    if (!items.querySelector(".frame")) {
      show(items, h("li", { class: "empty" }, rows.length ? "Nothing that fits." : "No frame yet."));
    }
  }

  function draw() {
    keepingEnd(() => {
      show(items, shown().map((row) => row.element));
      sayEmpty();
    });
  }

  // What is shown stays as it is, with the focus and what is selected in it.
  function add(fresh) {
    const gone = rows.splice(0, Math.max(0, rows.length + fresh.length - KEPT));
    rows.push(...fresh);
    if (isPaused) {
      return;
    }
    keepingEnd(() => {
      const visible = fresh.filter(fits).map((row) => row.element);
      gone.forEach((row) => row.element.remove());
      if (visible.length) {
        items.querySelector(".empty")?.remove();
        items.append(...visible);
      }
      sayEmpty();
    });
  }

  let latest = null;

  function tell() {
    if (latest?.closed) {
      const { by, code, reason } = latest.closed;
      show(status, badge("Ended", "bad"), ` by the ${by}${code ? `, ${code}` : ""}: ${reason.replaceAll("_", " ")}.`);
    } else if (isPaused) {
      show(status, badge("Paused", "warn"), ` ${count(later)} came since.`);
    } else if (latest) {
      show(status, badge("Live", "good"), ` on ${latest.node}, ${count(rows.length)} frames${missed ? `, ${count(missed)} missed` : ""}. `
        + "Tokens, claims and grants are not shown.");
    }
  }

  function update(answer) {
    latest = answer;
    next = answer.next;
    missed += answer.missed;
    later += answer.frames.length;
    add(answer.frames.map(rowOf));
    tell();
    root.dataset.watching = answer.node;
    if (answer.closed) {
      announce("The session has ended.");
      ended.abort();
    }
  }

  const ended = new AbortController();
  const watching = AbortSignal.any([signal, ended.signal]);
  const load = () => get(`${path}/frames`, { signal: watching, query: { app, after: next, wait_ms: next ? WAIT_MS : undefined, limit: 256 } });

  function failed(error) {
    if (error instanceof ApiError && error.code === "scope_missing") {
      show(box, notice(BLIND, "bad"));
      ended.abort();
    } else if (error.status === 404) {
      show(status, badge("Ended", "calm"), " The session is not there any more.");
      ended.abort();
    } else if (error.code === "watch_over") {
      next = ""; // this page was hidden for a while: what came meanwhile is not known
    } else {
      status.textContent = error.message;
    }
  }

  draw();
  const box = h("section", { class: "panel stack", "aria-label": "Frames, live" },
    h("div", { class: "row" }, h("h2", {}, "Frames"), status),
    h("div", { class: "row" }, filter, h("label", { class: "row", for: "frame-controls" }, controls, "Pings and positions, too"),
      h("div", { class: "row end" }, pause, copy, clear)),
    list);
  poll({ load, every: 50, signal: watching, onData: update, onError: failed });
  return box;
}

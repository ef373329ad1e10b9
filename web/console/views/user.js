// One user: sessions over all nodes, what was sent to them, and ending them.

import { call, get, name, poll } from "../api.js";
import { announce, badge, confirm, h, show, table } from "../dom.js";
import { bytes, count, duration, time } from "../format.js";
import { appOf, appRemark, kept, link, pretty, shortId, transportOf } from "./parts.js";

const EVERY_MS = 3000;
const WAIT_MS = 10000; // limits.wait as it is by default
const SHOWN = 200;

export function mountUser(root, context, user) {
  const { signal } = context;
  const app = appOf(context);
  const path = `/v1/users/${name(user)}`;
  const state = h("span");
  const kickAll = h("button", { class: "button danger", type: "button", "data-act": "kick-user", onclick: () => kickUser() }, "Kick all sessions…");
  const linkTo = kept((sid) => h("a", { class: "mono", href: link("users", { sid }) }, sid));
  const actions = kept((sid, row) => h("span", { class: "actions" },
    h("a", { class: "button small", href: link("users", { sid }), "aria-label": `Watch session ${sid}` }, "Watch"),
    context.operates && h("button", { class: "button small", type: "button", "data-act": "kick-session",
      "aria-label": `Kick session ${sid}`, onclick: () => kickSession(row) }, "Kick…")));
  const sessions = table({
    caption: `Sessions of ${user}`,
    key: (row) => row.sid,
    columns: [
      { title: "Session", cell: (row) => linkTo(row.sid) },
      { title: "Node", cell: (row) => row.node },
      { title: "Transport", cell: transportOf },
      { title: "Device", hide: "narrow", cell: (row) => row.device ?? "–" },
      { title: "Address", hide: "narrow", cell: (row) => row.peer ?? "–" },
      { title: "Since", cell: (row) => h("span", { title: time(row.since_ms) }, duration(Date.now() - row.since_ms)) },
      { title: "Waiting", number: true, cell: (row) => bytes(row.queued_bytes) },
      { title: "Do", cell: (row) => actions(row.sid, row) },
    ],
    empty: "No session at the moment.",
  });

  async function act(path, said) {
    try {
      const answer = await call("DELETE", path, { query: { app }, signal });
      announce(said(answer));
      context.ok();
      load().then(update, context.fail);
    } catch (error) {
      context.fail(error);
    }
  }

  async function kickUser() {
    const yes = await confirm({ title: `Kick ${user}?`, danger: true, action: "Kick",
      text: "All sessions of the user are closed with 4000, on every node. The client library does not come back by itself after that." });
    if (yes) {
      await act(`${path}/sessions`, (answer) => `${count(answer.closed)} sessions were closed.`);
    }
  }

  async function kickSession(row) {
    const yes = await confirm({ title: "Kick this session?", danger: true, action: "Kick",
      text: `${row.sid} on ${row.node} is closed with 4000. Other sessions of the user stay.` });
    if (yes) {
      await act(`/v1/sessions/${name(row.sid)}`, () => "The session was closed.");
    }
  }

  const load = () => get(path, { query: { app }, signal });

  function update(answer) {
    context.ok();
    const seen = answer.last_seen_ms ? ` last seen ${time(answer.last_seen_ms)}` : "";
    show(state, badge(answer.online ? "Online" : "Offline", answer.online ? "good" : "calm"),
      h("span", { class: "soft" }, ` ${count(answer.session_count)} ${answer.session_count === 1 ? "session" : "sessions"}${seen}`
        + (answer.complete ? "" : "; some node did not answer")));
    sessions.update(answer.sessions);
    kickAll.disabled = answer.session_count === 0;
    root.dataset.loaded = "user";
  }

  show(root,
    h("div", { class: "row" },
      h("a", { href: link("users") }, "All users"), h("span", { class: "soft", "aria-hidden": "true" }, "/"),
      h("h2", { class: "name" }, user), state,
      context.operates && h("div", { class: "row end" },
        h("a", { class: "button", href: link("send", { to: "users", name: user }) }, "Send…"), kickAll)),
    appRemark(context),
    sessions.element,
    received(context, `${path}/messages`, app));
  poll({ load, every: EVERY_MS, signal, onData: update, onError: context.fail });
}

// ---- what they received ----

const FLAGS = [["cancelled", "Cancelled", "warn"], ["superseded", "Superseded", "calm"], ["expired", "Expired", "calm"], ["final", "Final", "calm"]];

function targetsOf(to) {
  const named = [["users", ""], ["groups", "group "], ["sessions", "session "], ["tickets", "ticket "]]
    .flatMap(([kind, word]) => (to[kind] ?? []).map((one) => (kind === "users" ? "the user" : word + one)));
  return [...(to.all ? ["everybody"] : []), ...named].join(", ");
}

function flagsOf(message) {
  return FLAGS.filter(([flag]) => message[flag]).map(([, text, kind]) => [" ", badge(text, kind)]);
}

function dataOf(message) {
  if (message.t === "revoke") {
    return h("span", { class: "soft" }, "cancels it");
  }
  const text = message.data_base64 ?? (message.data === undefined ? undefined : JSON.stringify(message.data));
  if (text === undefined) {
    return h("span", { class: "soft" }, bytes(message.size));
  }
  return h("details", { class: "payload" }, h("summary", { class: "mono" }, text.length > 120 ? `${text.slice(0, 120)}…` : text),
    h("pre", {}, pretty(text)));
}

/** A panel with the messages of a target that the window holds, and those that come. */
export function received(context, path, app) {
  const { signal } = context;
  const remark = h("p", { class: "help", role: "status" });
  const rows = new Map();
  const idOf = kept(shortId);
  let after;
  const list = table({
    caption: "What was sent",
    key: (row) => row.key,
    columns: [
      { title: "Time", cell: (row) => time(row.message.ts) },
      { title: "Type", cell: (row) => row.message.type ?? (row.message.t === "revoke" ? "revoke" : "–") },
      { title: "By way of", hide: "narrow", cell: (row) => targetsOf(row.message.to) },
      { title: "Id", hide: "narrow", cell: (row) => idOf(row.message.id) },
      { title: "Data", cell: (row) => row.data },
    ],
    empty: "Nothing in the window.",
  });

  const load = () => get(path, { signal, query: { app, after, limit: SHOWN, wait_ms: after ? WAIT_MS : undefined, groups: path.startsWith("/v1/users/") || undefined } });

  function update(answer) {
    if (answer.gap) {
      rows.clear();
    }
    after = answer.after;
    for (const message of answer.messages) {
      const key = `${message.t} ${message.id} ${message.pos ?? message.ts}`;
      rows.set(key, { key, message, data: h("div", {}, dataOf(message), flagsOf(message)) });
    }
    const newest = [...rows.values()].slice(-SHOWN).reverse();
    rows.clear();
    newest.toReversed().forEach((row) => rows.set(row.key, row));
    list.update(newest);
    remark.textContent = `What the window of ${answer.node} holds, newest first; whether a client has read it is not known here.`
      + (answer.complete ? "" : " Not all of it could be looked at.");
  }

  function failed(error) {
    remark.textContent = error.code === "scope_missing"
      ? "Your role may not read what was sent: it takes an operator, or a key of the app with the scope read."
      : error.message;
  }

  list.update([]);
  poll({ load, every: 250, signal, onData: update, onError: failed });
  return h("div", { class: "stack" }, h("h2", {}, "What was sent"), list.element, remark);
}

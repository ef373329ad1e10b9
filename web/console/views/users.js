// Who is online: searched as one types, over all nodes; then one user, or one session.

import { get, poll } from "../api.js";
import { h, show, table } from "../dom.js";
import { count, time } from "../format.js";
import { appOf, appRemark, kept, link } from "./parts.js";
import { mountSession } from "./session.js";
import { mountUser } from "./user.js";

export const title = "Users";
export const icon = "M7.5 9.5a3 3 0 1 0 0-6 3 3 0 0 0 0 6M2 16.5c0-3 2.5-4.8 5.5-4.8s5.5 1.8 5.5 4.8M13 4a2.8 2.8 0 0 1 0 5.2M14.5 12c2 .6 3.5 2.1 3.5 4.5";

const PAGE = 100;
const EVERY_MS = 5000;
const TYPING_MS = 200;

export function mount(root, context) {
  if (context.params.get("sid")) {
    mountSession(root, context, context.params.get("sid"));
  } else if (context.params.get("user")) {
    mountUser(root, context, context.params.get("user"));
  } else {
    mountSearch(root, context);
  }
}

function mountSearch(root, context) {
  const { signal } = context;
  const app = appOf(context);
  const pages = [""]; // the `after` of each page up to the one that is shown
  let prefix = context.params.get("q") ?? "";
  let asking = null; // what is asked for the page that is shown
  let next;

  const search = h("input", { id: "user-search", type: "search", value: prefix, placeholder: "Beginning of a user's id",
    autocomplete: "off", spellcheck: "false", autocapitalize: "off", "aria-describedby": "user-help", oninput: typed });
  const status = h("p", { class: "help", role: "status" });
  const linkTo = kept((user) => h("a", { class: "name", href: link("users", { user }) }, user));
  const users = table({
    caption: "Users online",
    key: (row) => row.user,
    columns: [
      { title: "User", cell: (row) => linkTo(row.user) },
      { title: "Sessions", number: true, cell: (row) => count(row.sessions) },
    ],
    empty: "Nobody is online whose id begins so.",
  });
  const back = h("button", { class: "button", type: "button", onclick: () => turn(-1) }, "Previous");
  const forth = h("button", { class: "button", type: "button", onclick: () => turn(1) }, "Next");
  const where = h("span", { class: "soft" });

  async function load(options = {}) {
    asking?.abort();
    asking = new AbortController();
    const mine = AbortSignal.any([asking.signal, signal]);
    return get("/v1/users", { signal: mine, query: { app, prefix, after: pages.at(-1), limit: PAGE }, ...options });
  }

  function update(answer) {
    context.ok();
    next = answer.next;
    users.update(answer.users);
    back.disabled = pages.length === 1;
    forth.disabled = !next;
    where.textContent = `Page ${count(pages.length)}`;
    const some = answer.users.length;
    const whole = !next && pages.length === 1;
    status.textContent = `${whole ? count(some) : `${count((pages.length - 1) * PAGE + 1)} to ${count((pages.length - 1) * PAGE + some)}`} online`
      + `${prefix ? ` beginning with “${prefix}”` : ""}${app ? ` in ${app}` : ""}, ${time(answer.as_of)}.`
      + (answer.complete ? "" : " Some node did not answer: others may be online.");
    root.dataset.loaded = prefix;
  }

  function again() {
    load().then(update, context.fail);
  }

  function turn(by) {
    if (by > 0) {
      pages.push(next);
    } else {
      pages.pop();
    }
    again();
  }

  let typing;
  function typed() {
    clearTimeout(typing);
    typing = setTimeout(() => {
      prefix = search.value;
      pages.splice(0, pages.length, "");
      history.replaceState(null, "", link("users", { q: prefix, app: context.app })); // a way back, without mounting anew
      again();
    }, TYPING_MS);
  }

  function found(event) {
    event.preventDefault();
    const text = search.value.trim();
    if (text) {
      context.go("users", text.startsWith("s_") && text.length === 30 ? { sid: text } : { user: text });
    }
  }

  signal.addEventListener("abort", () => clearTimeout(typing));
  show(root,
    h("form", { class: "row", role: "search", onsubmit: found },
      h("label", { for: "user-search", class: "unseen" }, "Find a user"), search,
      h("button", { class: "button primary", type: "submit" }, "Open"),
      h("span", { id: "user-help", class: "help" }, "Enter opens the user, or the session (s_…), that you typed.")),
    appRemark(context),
    users.element,
    h("div", { class: "row" }, status, h("div", { class: "row end" }, where, back, forth)));
  search.focus({ preventScroll: true });
  poll({ load, every: EVERY_MS, signal, onData: update, onError: context.fail });
}

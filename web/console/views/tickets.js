// Tickets that are claimed or that messages wait for; making one to try, and ending one.

import { call, get, name, poll } from "../api.js";
import { announce, badge, confirm, h, notice, show, table } from "../dom.js";
import { count, duration, time } from "../format.js";
import { appOf, appRemark, copyButton, facts, kept, link } from "./parts.js";
import { received } from "./user.js";

export const title = "Tickets";
export const icon = "M3 6h14v3a1.500 1.500 0 0 0 0 3v3H3v-3a1.500 1.500 0 0 0 0-3zM12 6v9";

const EVERY_MS = 3000;
const PAGE = 100;
const STATES = { claimed: ["Claimed", "good"], waiting: ["Waits for its page", "warn"], done: ["Done", "calm"], expired: ["Expired", "calm"] };

const stateBadge = (state) => badge(...STATES[state] ?? [state, "calm"]);
const left = (at) => (at > Date.now() ? `in ${duration(at - Date.now())}` : "over");

async function endTicket(context, id) {
  const yes = await confirm({ title: "End this ticket?", danger: true, action: "End",
    text: "The page that waits is closed with 4006, and what waits for it is thrown away." });
  if (!yes) {
    return false;
  }
  try {
    await call("DELETE", `/v1/tickets/${name(id)}`, { query: { app: appOf(context) }, signal: context.signal });
    announce("The ticket is over.");
    context.ok();
  } catch (error) {
    context.fail(error);
  }
  return true;
}

export function mount(root, context) {
  const id = context.params.get("id");
  if (id) {
    mountTicket(root, context, id);
  } else {
    mountList(root, context);
  }
}

function mountList(root, context) {
  const { signal } = context;
  const app = appOf(context);
  const pages = [""];
  let next;
  const search = h("input", { id: "ticket-id", type: "search", placeholder: "t_…", autocomplete: "off", spellcheck: "false", autocapitalize: "off" });
  const made = h("div");
  const status = h("p", { class: "help", role: "status" });
  const back = h("button", { class: "button", type: "button", onclick: () => { pages.pop(); again(); } }, "Previous");
  const forth = h("button", { class: "button", type: "button", onclick: () => { pages.push(next); again(); } }, "Next");
  const linkTo = kept((id) => h("a", { class: "mono", href: link("tickets", { id }) }, id));
  const endOf = kept((id) => h("button", { class: "button small", type: "button", "data-act": "end-ticket",
    "aria-label": `End ticket ${id}`, onclick: () => endTicket(context, id).then(again) }, "End…"));
  const tickets = table({
    caption: "Tickets",
    key: (row) => row.id,
    columns: [
      { title: "Ticket", cell: (row) => linkTo(row.id) },
      { title: "State", cell: (row) => stateBadge(row.state) },
      { title: "Messages", number: true, cell: (row) => count(row.messages) },
      { title: "Claimed", hide: "narrow", cell: (row) => (row.claimed_at ? h("span", { title: time(row.claimed_at) }, `${duration(Date.now() - row.claimed_at)} ago`) : "–") },
      { title: "Expires", cell: (row) => h("span", { title: time(row.expires_at) }, left(row.expires_at)) },
      ...(context.operates ? [{ title: "Do", cell: (row) => endOf(row.id) }] : []),
    ],
    empty: "No ticket is claimed, and nothing waits for one.",
  });

  const load = () => get("/v1/tickets", { signal, query: { app, after: pages.at(-1), limit: PAGE } });
  const again = () => load().then(update, context.fail);

  function update(answer) {
    context.ok();
    next = answer.next;
    tickets.update(answer.tickets);
    back.disabled = pages.length === 1;
    forth.disabled = !next;
    status.textContent = "A ticket that nobody has claimed, and nothing waits for, is in no list: nothing is stored of it.";
    root.dataset.loaded = "tickets";
  }

  async function make() {
    try {
      const ticket = await call("POST", "/v1/tickets", { query: { app }, body: { scene: "console", ttl_ms: 300000 }, signal });
      show(made, h("section", { class: "panel stack", "aria-label": "New ticket" },
        h("h2", {}, "A ticket to try"),
        h("p", { class: "help" }, "The ticket is a secret that opens one waiting page; it is shown here once. Push to its id."),
        facts([
          ["Id", h("a", { class: "mono", href: link("tickets", { id: ticket.id }) }, ticket.id)],
          ["Expires", left(ticket.expires_at)],
          ["Ticket", h("span", { class: "row" }, copyButton(() => ticket.ticket, "Copy the ticket"))],
        ])));
      announce("A ticket was made.");
    } catch (error) {
      context.fail(error);
    }
  }

  show(root,
    appRemark(context),
    h("form", { class: "row", role: "search", onsubmit: (event) => {
      event.preventDefault();
      if (search.value.trim()) {
        context.go("tickets", { id: search.value.trim() });
      }
    } },
      h("label", { for: "ticket-id", class: "unseen" }, "Find a ticket by its id"), search,
      h("button", { class: "button", type: "submit" }, "Open"),
      context.operates && h("div", { class: "row end" }, h("button", { class: "button", type: "button", "data-act": "make-ticket", onclick: make }, "Make one to try"))),
    made,
    tickets.element,
    h("div", { class: "row" }, status, h("div", { class: "row end" }, back, forth)));
  poll({ load, every: EVERY_MS, signal, onData: update, onError: context.fail });
}

function mountTicket(root, context, id) {
  const { signal } = context;
  const app = appOf(context);
  const about = h("div", { class: "panel" }, h("p", { class: "soft" }, "Loading…"));

  const load = () => get(`/v1/tickets/${name(id)}`, { query: { app }, signal });
  const again = () => load().then(update, failed);

  function update(ticket) {
    context.ok();
    show(about, facts([
      ["State", stateBadge(ticket.state)],
      ["Messages that wait", count(ticket.messages)],
      ["Expires", `${time(ticket.expires_at)} (${left(ticket.expires_at)})`],
    ]));
    root.dataset.loaded = "ticket";
  }

  function failed(error) {
    if (error.status === 404) {
      show(about, notice("No ticket of this app has this id.", "bad"));
    } else {
      context.fail(error);
    }
  }

  show(root,
    h("div", { class: "row" }, h("a", { href: link("tickets") }, "All tickets"), h("span", { class: "soft", "aria-hidden": "true" }, "/"),
      h("h2", { class: "mono" }, id),
      context.operates && h("div", { class: "row end" },
        h("a", { class: "button", href: link("send", { to: "tickets", name: id }) }, "Send…"),
        h("button", { class: "button danger", type: "button", "data-act": "end-ticket", onclick: () => endTicket(context, id).then(again) }, "End…"))),
    about,
    received(context, `/v1/tickets/${name(id)}/messages`, app));
  poll({ load, every: EVERY_MS, signal, onData: update, onError: failed });
}

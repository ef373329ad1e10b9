// A test push: to whom, what, and what became of it.

import { call, get, name } from "../api.js";
import { announce, badge, confirm, h, notice, show } from "../dom.js";
import { count } from "../format.js";
import { appOf, appRemark, copyButton, facts, field } from "./parts.js";

export const title = "Send";
export const icon = "M3 10 17 4l-4.5 13-3-5.5zM9.500 11.500 17 4";

const TARGETS = [["users", "A user"], ["groups", "A group"], ["sessions", "A session"], ["tickets", "A ticket"], ["all", "Everybody"]];
const NAMED = { users: "User's id", groups: "Group's name", sessions: "Session's id", tickets: "Ticket's id" };
const WAITS = [["written", "Written to sockets"], ["acked", "Confirmed by clients"], ["routed", "Sessions found"], ["none", "The bus alone"]];
const EXAMPLE = '{\n  "text": "hello from the console"\n}';
const AFTER_MS = [500, 1000, 2000, 4000, 8000];

function choice(id, options, value) {
  return h("select", { id }, options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
}

export function mount(root, context) {
  if (!context.operates) {
    show(root, notice("Your role sees everything and changes nothing. To send, sign in with a key that has the scope admin.", "bad"));
    return;
  }
  const { signal, params } = context;
  const app = appOf(context);
  const to = choice("send-to", TARGETS, params.get("to") ?? "users");
  const who = h("input", { id: "send-name", required: true, value: params.get("name") ?? "", autocomplete: "off", spellcheck: "false", autocapitalize: "off" });
  const type = h("input", { id: "send-type", value: "console.test", autocomplete: "off", spellcheck: "false" });
  const data = h("textarea", { id: "send-data", rows: "8", spellcheck: "false", required: true }, EXAMPLE);
  const wait = choice("send-wait", WAITS, "written");
  const ttl = h("input", { id: "send-ttl", type: "number", min: "1", placeholder: "no limit" });
  const collapse = h("input", { id: "send-collapse", autocomplete: "off", spellcheck: "false" });
  const final = h("input", { id: "send-final", type: "checkbox" });
  const wrong = h("p", { id: "send-data-wrong", class: "wrong", role: "status" });
  const button = h("button", { class: "button primary", type: "submit" }, "Send");
  const result = h("div", { class: "stack", "aria-live": "polite" });
  const whoField = field(NAMED.users, who);
  const finalField = h("label", { class: "row", for: "send-final" }, final, "The ticket's last message");

  function adapt() {
    const isAll = to.value === "all";
    whoField.hidden = isAll;
    whoField.querySelector("label").textContent = NAMED[to.value] ?? "";
    who.required = !isAll;
    finalField.hidden = to.value !== "tickets";
  }

  function check() {
    try {
      JSON.parse(data.value);
      wrong.textContent = "";
      data.removeAttribute("aria-invalid");
      return true;
    } catch (error) {
      wrong.textContent = `Not JSON: ${error.message}`;
      data.setAttribute("aria-invalid", "true");
      return false;
    }
  }

  function message() {
    return {
      to: to.value === "all" ? { all: true } : { [to.value]: [who.value.trim()] },
      type: type.value.trim() || undefined,
      data: JSON.parse(data.value),
      id: `console-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`,
      ttl_ms: ttl.value ? Number(ttl.value) : undefined,
      collapse: collapse.value.trim() || undefined,
      final: to.value === "tickets" && final.checked ? true : undefined,
      wait: wait.value === "none" ? undefined : wait.value,
      wait_ms: wait.value === "none" ? undefined : 3000,
    };
  }

  async function send(event) {
    event.preventDefault();
    if (!check()) {
      data.focus();
      return;
    }
    if (to.value === "all" && !await confirm({ title: "Send to everybody?", action: "Send", danger: true,
      text: `Every connected session of ${app || "the app"} gets this message.` })) {
      return;
    }
    button.disabled = true;
    try {
      const body = message();
      const answer = await call("POST", "/v1/messages", { query: { app }, body, signal });
      show(result, receipt(answer, body.wait));
      announce(answer.receipt ? `Sent; ${answer.receipt.sessions.written} sessions have it.` : "Accepted.");
      follow(answer, body.wait);
    } catch (error) {
      if (error.name !== "AbortError") {
        show(result, notice(`${error.message} (${error.code})`, "bad"));
      }
    } finally {
      button.disabled = false;
    }
  }

  // Confirmations may come later than the answer: looked for a while, while this is the last push.
  async function follow(answer, waits) {
    const mine = result.firstChild;
    for (const pause of waits ? AFTER_MS : []) {
      await new Promise((resolve) => { setTimeout(resolve, pause); });
      if (signal.aborted || result.firstChild !== mine) {
        return;
      }
      try {
        const now = await get(`/v1/messages/${name(answer.id)}`, { query: { app }, signal });
        mine.update(now);
        if (now.receipt?.complete && waits !== "acked") {
          return;
        }
      } catch {
        return; // it stays as it was
      }
    }
  }

  function receipt(answer, waits) {
    const body = h("div", { class: "stack" });
    const element = h("section", { class: "panel stack", "aria-label": "What became of it" }, h("h2", {}, "What became of it"), body);
    element.update = (now) => show(body, outcome({ ...answer, receipt: now.receipt && { ...answer.receipt, ...now.receipt } }, waits));
    element.update(answer);
    return element;
  }

  to.addEventListener("change", adapt);
  data.addEventListener("input", check);
  adapt();
  show(root,
    appRemark(context),
    h("div", { class: "halves" },
      h("form", { class: "panel stack", onsubmit: send, "aria-label": "Message" },
        h("div", { class: "fields" }, field("To", to), whoField, field("Type", type), field("Wait for", wait)),
        h("div", { class: "field" }, h("label", { for: "send-data" }, "Data (JSON)"), data, wrong),
        h("details", {}, h("summary", {}, "More"),
          h("div", { class: "fields" }, field("Lives for, ms", ttl, "Who connects later does not get it."),
            field("Collapse key", collapse, "A newer one with this key takes its place while it waits."))),
        finalField,
        h("div", { class: "row" }, button)),
      result));
}

const COUNTS = [["matched", "Sessions found", "calm"], ["written", "Written", "good"], ["acked", "Confirmed", "good"], ["dropped", "Dropped", "bad"]];

function outcome(answer, waits) {
  const { receipt } = answer;
  const most = Math.max(1, receipt?.sessions.matched ?? 0);
  const bars = receipt && h("div", { class: "bars" }, COUNTS.filter(([key]) => key !== "acked" || waits === "acked").map(([key, text, kind]) =>
    h("div", { class: "bar", "data-count": key }, h("span", {}, text), meter(receipt.sessions[key], most, kind), h("strong", { class: "number" }, count(receipt.sessions[key])))));
  const state = receipt
    ? badge(receipt.complete ? "Complete" : "Not all is known yet", receipt.complete ? "good" : "warn")
    : badge("Accepted by the bus", "good");
  return [
    h("p", {}, state, receipt?.sessions.matched === 0 && receipt.complete && " Nobody was there to get it; who comes back within the window still does."),
    bars,
    facts([
      ["Message", h("span", { class: "row" }, h("code", { class: "name" }, answer.id), copyButton(() => answer.id))],
      ["Users online", receipt?.users_online === undefined ? null : count(receipt.users_online)],
      ["Nodes that reported", receipt && `${count(receipt.nodes.reported)} of ${count(receipt.nodes.expected)}`],
      ["Position", typeof answer.pos === "string" ? h("code", {}, answer.pos) : null],
    ]),
  ];
}

// A width that needs no style.
function meter(value, most, kind) {
  return h("progress", { class: kind, max: most, value, "aria-hidden": "true" });
}

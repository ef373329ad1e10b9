// What the views of users, sessions, tickets and pushes share.

import { h } from "../dom.js";

/** Calls that are about one app ask about this one. */
export function appOf(context) {
  return context.app || context.session.app || context.session.apps[0] || "";
}

/** The address of a view. */
export function link(view, params = {}) {
  const pairs = Object.entries(params).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const query = new URLSearchParams(pairs).toString();
  return `#/${view}${query ? `?${query}` : ""}`;
}

/** Which app is meant, where there are several and none was chosen. */
export function appRemark(context) {
  const isUnclear = !context.app && context.session.apps.length > 1;
  return isUnclear && h("p", { class: "help" }, "This is about the app ", h("strong", {}, appOf(context)), "; choose another one at the top.");
}

/** A button that copies what text() gives. */
export function copyButton(text, label = "Copy", looks = "button small") {
  const button = h("button", { class: looks, type: "button", onclick: async () => {
    try {
      await navigator.clipboard.writeText(text());
    } catch {
      copyByHand(text());
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 1500);
  } }, label);
  return button;
}

// Without https there is no clipboard.
function copyByHand(text) {
  const area = h("textarea", { class: "unseen" });
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** JSON as people read it; what is no JSON stays. */
export function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** A label and its field. */
export function field(label, input, help) {
  const helpId = help && `${input.id}-help`;
  if (help) {
    input.setAttribute("aria-describedby", helpId);
  }
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input,
    help && h("span", { id: helpId, class: "help" }, help));
}

/** A list of terms and what they are: [["Node", "gw-1"], …]; what is null is left out. */
export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))));
}

const TRANSPORTS = { websocket: "WebSocket", sse: "Event stream" };

export function transportOf(session) {
  return `${TRANSPORTS[session.transport] ?? session.transport}${session.protocol === "raw" ? ", raw" : ""}`;
}

const KEPT = 1000;

/** For cells of tables that are shown again and again: what was made for a key is given again, so that it keeps focus and state; the last 1000. */
export function kept(make) {
  const made = new Map(); // used longest ago first
  return (key, ...more) => {
    const element = made.get(key) ?? make(key, ...more);
    made.delete(key);
    made.set(key, element);
    if (made.size > KEPT) {
      made.delete(made.keys().next().value);
    }
    return element;
  };
}

/** An id that nobody reads but somebody may look for: its ends, and a button that copies all of it. */
export function shortId(id) {
  const text = id.length > 16 ? `${id.slice(0, 8)}…${id.slice(-4)}` : id;
  const copy = copyButton(() => id);
  copy.setAttribute("aria-label", `Copy the id ${id}`);
  return h("span", { class: "row id" }, h("span", { class: "mono soft", title: id }, text), copy);
}

// What the built-in alerter says: what fires, what may soon, what just ended, and the rules.

import { get, poll } from "../api.js";
import { badge, h, show, table } from "../dom.js";
import { count, duration, time } from "../format.js";

export const title = "Alerts";
export const icon = "M5 13.500V9a5 5 0 0 1 10 0v4.500l1.500 1.500h-13zM8.500 17h3";

const EVERY_MS = 5000;
const ORDER = ["firing", "pending", "resolved"];
const STATES = { firing: ["Firing", "bad"], pending: ["Pending", "warn"], resolved: ["Resolved", "good"] };
const SEVERITIES = { critical: ["Critical", "bad"], warning: ["Warning", "warn"] };

const rank = (alert) => [ORDER.indexOf(alert.state), alert.severity === "critical" ? 0 : 1, -alert.active_at];

function compare(a, b) {
  const [left, right] = [rank(a), rank(b)];
  const at = left.findIndex((value, index) => value !== right[index]);
  return at < 0 ? 0 : left[at] - right[at];
}

// Where alerts.runbooks names no other place, the page is the one that the binary carries.
function runbook(rule) {
  const href = /^https?:/.test(rule.runbook) ? rule.runbook : `runbooks/${rule.runbook.split("/").at(-1)}`;
  return h("a", { href, rel: "noreferrer", target: "_blank" }, "Runbook");
}

function labels(alert) {
  return Object.entries(alert.labels).map(([key, value]) => `${key}=${value}`).join(", ") || "–";
}

export function mount(root, context) {
  const { signal } = context;
  let rules = new Map();
  const status = h("p", { role: "status" });
  const alerts = table({
    caption: "Alerts",
    key: (row) => `${row.alert} ${row.node} ${labels(row)}`,
    columns: [
      { title: "Alert", cell: (row) => [h("div", {}, row.summary), h("div", { class: "soft" }, row.alert)] },
      { title: "State", nowrap: true, cell: (row) => [badge(...STATES[row.state] ?? [row.state, "calm"]), " ", row.state === "resolved" ? null : badge(...SEVERITIES[row.severity] ?? [row.severity, "calm"])] },
      { title: "Node", nowrap: true, cell: (row) => row.node },
      { title: "About", hide: "narrow", cell: labels },
      { title: "Value", number: true, hide: "narrow", cell: (row) => (row.value === null ? "–" : String(Math.round(row.value * 1000) / 1000)) },
      { title: "Since", nowrap: true, cell: (row) => h("span", { title: time(row.active_at) }, duration(Date.now() - row.active_at)) },
      { title: "What to do", cell: (row) => (rules.has(row.alert) ? runbook(rules.get(row.alert)) : "–") },
    ],
    empty: "Nothing fires, and nothing is about to.",
  });
  const list = table({
    caption: "Rules",
    key: (row) => row.name,
    columns: [
      { title: "Rule", cell: (row) => [h("div", {}, row.summary), h("div", { class: "soft" }, row.name)] },
      { title: "Severity", cell: (row) => badge(row.severity, "calm") },
      { title: "Fires when this holds", hide: "narrow", cell: (row) => [h("code", {}, row.expression), h("div", { class: "soft" }, `for ${duration(row.for_ms)}${row.external ? "; seen by a Prometheus alone" : ""}`)] },
      { title: "What it means", hide: "narrow", cell: (row) => row.detail },
      { title: "What to do", cell: runbook },
    ],
    empty: "There are no rules.",
  });

  function update(answer) {
    context.ok();
    rules = new Map(answer.rules.map((rule) => [rule.name, rule]));
    const sorted = answer.alerts.toSorted(compare);
    const firing = sorted.filter((alert) => alert.state === "firing").length;
    const pending = sorted.filter((alert) => alert.state === "pending").length;
    alerts.update(sorted);
    list.update(answer.rules);
    show(status, badge(`${count(firing)} firing`, firing ? "bad" : "good"), " ", badge(`${count(pending)} pending`, pending ? "warn" : "calm"),
      h("span", { class: "soft" }, answer.complete ? "" : " Some node did not answer."));
    root.dataset.loaded = "alerts";
  }

  show(root, status, alerts.element, h("details", {}, h("summary", {}, "Rules"), list.element));
  poll({ load: () => get("/v1/alerts", { signal }), every: EVERY_MS, signal, onData: update, onError: context.fail });
}

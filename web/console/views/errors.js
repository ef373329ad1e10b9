// The last warnings and errors in the logs of all nodes.

import { get, poll } from "../api.js";
import { badge, h, show, table } from "../dom.js";
import { count, time } from "../format.js";

export const title = "Errors";
export const icon = "M10 3.500 17.500 16.500h-15zM10 8.500v4M10 14.500h.01";

const EVERY_MS = 5000;
const LINES = 500;
const LEVELS = { error: ["Error", "bad"], warn: ["Warning", "warn"] };

// What a line says beside its message.
function rest(line) {
  return ["code", "app", "sid", "request_id", "trace_id"].filter((key) => line[key]).map((key) => `${key}=${line[key]}`).join(" ")
    + (line.suppressed ? ` ${count(line.suppressed)} more like it` : "");
}

export function mount(root, context) {
  const { signal } = context;
  let lines = [];
  const filter = h("input", { id: "error-filter", type: "search", placeholder: "Filter", "aria-label": "Filter lines by text", oninput: draw });
  const only = h("input", { id: "error-only", type: "checkbox", onchange: draw });
  const status = h("p", { class: "help", role: "status" });
  const list = table({
    caption: "Warnings and errors",
    key: (row) => row.key,
    columns: [
      { title: "Time", cell: (row) => h("span", { title: row.line.ts }, time(row.line.ts)) },
      { title: "Level", cell: (row) => badge(...LEVELS[row.line.level] ?? [row.line.level, "calm"]) },
      { title: "Node", hide: "narrow", cell: (row) => row.line.node ?? "–" },
      { title: "Event", hide: "narrow", cell: (row) => h("code", {}, row.line.event) },
      { title: "Message", cell: (row) => [h("div", { class: "name" }, row.line.msg), h("div", { class: "soft mono" }, rest(row.line))] },
    ],
    empty: "Nothing went wrong, or nothing that fits.",
  });

  function draw() {
    const words = filter.value.toLowerCase();
    const fits = lines.filter((line) => (!only.checked || line.level === "error") && (!context.app || !line.app || line.app === context.app)
      && JSON.stringify(line).toLowerCase().includes(words));
    const seen = new Map();
    list.update(fits.map((line) => {
      const text = JSON.stringify(line);
      seen.set(text, (seen.get(text) ?? 0) + 1);
      return { key: `${text} ${seen.get(text)}`, line };
    }));
    status.textContent = `${count(fits.length)} of the last ${count(lines.length)} lines, newest first.`;
  }

  function update(answer) {
    context.ok();
    lines = answer.errors;
    draw();
    if (!answer.complete) {
      status.textContent += " Some node did not answer.";
    }
    root.dataset.loaded = "errors";
  }

  show(root,
    h("div", { class: "row" }, filter, h("label", { class: "row", for: "error-only" }, only, "Errors alone"), h("div", { class: "row end" }, status)),
    list.element);
  poll({ load: () => get("/v1/errors", { signal, query: { limit: LINES } }), every: EVERY_MS, signal, onData: update, onError: context.fail });
}

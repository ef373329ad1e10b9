// What the cluster is doing now, and did in the last quarter of an hour.

import { get, poll } from "../api.js";
import { chart } from "../charts.js";
import { badge, h, notice, show, table } from "../dom.js";
import { bytes, count, duration, latency, rate } from "../format.js";

export const title = "Overview";
export const icon = "M3 16h14M5.5 13V9M10 13V5M14.5 13V8";

const EVERY_MS = 5000;
const HISTORY_S = 900;
const LEAST_S = 300;
const KEYS = ["connections", "users", "accepted", "written", "dropped", "p50_ms", "p90_ms", "p99_ms"];
const STAGES = {
  api_to_bus: "API to bus",
  bus: "On the bus",
  other_node: "Bus to another node",
  bus_to_write: "Bus to socket",
  write_to_ack: "Socket to confirmation",
  total: "Altogether",
};

function figure(label) {
  const value = h("span", { class: "value" }, "–");
  const note = h("span", { class: "note" });
  const element = h("div", { class: "panel figure" }, h("dt", {}, label), h("dd", {}, h("div", {}, value), note));
  return { element, set: (text, more = "") => { value.textContent = text; note.textContent = more; } };
}

/**
 * What there was before, and what came since: at most a quarter of an hour, and without the beginning of
 * which nobody saw anything, but for the last five minutes. wholeTo is the time up to which every node has
 * answered: what is known so stays as it was, whatever fewer nodes say; what is not is asked for again.
 */
export function join(before, history, isWhole) {
  const length = history.connections.length;
  const times = Array.from({ length }, (_, index) => history.from + index * history.step_ms);
  const known = before?.wholeTo ?? -Infinity;
  const first = isWhole ? history.from : Math.max(history.from, known + history.step_ms);
  const oldest = Math.max(before?.times.at(-1) ?? 0, times.at(-1) ?? 0) - HISTORY_S * 1000;
  const points = new Map();
  const put = (at, source, index) => at > oldest && points.set(at, KEYS.map((key) => source[key][index]));
  before?.times.forEach((at, index) => at < first && put(at, before, index));
  fillGap(points, before?.times.at(-1), first, history.step_ms, oldest);
  times.forEach((at, index) => at >= first && put(at, history, index));
  return { ...cut([...points], history.step_ms), wholeTo: isWhole ? times.at(-1) : before?.wholeTo };
}

// The axis has a place for each step, also for those that nobody has asked about.
function fillGap(points, last, first, step, oldest) {
  for (let at = last === undefined ? first : Math.max(last, oldest) + step; at < first; at += step) {
    points.set(at, KEYS.map(() => null));
  }
}

function cut(points, step) {
  const seen = points.findIndex(([, values]) => values[0] !== null);
  const least = Math.max(0, points.length - (LEAST_S * 1000) / step);
  const kept = points.slice(Math.min(seen < 0 ? least : seen, least));
  const joined = { times: kept.map(([at]) => at) };
  KEYS.forEach((key, index) => { joined[key] = kept.map(([, values]) => values[index]); });
  return joined;
}

/** So many seconds of the past are asked for: those since all nodes answered, and half a minute more. */
export function secondsOf(sinceWhole) {
  return Math.min(HISTORY_S, Math.ceil(Math.max(0, sinceWhole) / 1000) + 30);
}

/** What an answer leaves out, in words; "" for none. */
function lackOf(answer) {
  const all = answer.nodes.length;
  const some = answer.nodes.filter((one) => one.answered).length;
  if (answer.complete) {
    return "";
  }
  return some < all
    ? `${some} of ${all} nodes answered: sums and charts are of ${some === 1 ? "this one" : "these"} alone.`
    : "Nothing comes back from the bus: which other nodes there are is not known, and sums are of those that answered.";
}

export function mount(root, context) {
  const { signal, app } = context;
  const node = context.params.get("node") ?? "";
  const figures = {
    users: figure("Users online"),
    connections: figure("Connections"),
    accepted: figure("Pushes/s"),
    written: figure("Deliveries/s"),
    latency: figure("Delivery, p99"),
    alerts: figure("Alerts firing"),
  };
  const charts = [
    chart({ title: "Connections and users", format: count, signal,
      series: [{ key: "connections", label: "Connections" }, { key: "users", label: "Users" }] }),
    chart({ title: "Messages a second", format: rate, signal,
      series: [{ key: "accepted", label: "Pushed" }, { key: "written", label: "Delivered" }, { key: "dropped", label: "Dropped" }] }),
    chart({ title: "Delivery time", format: latency, signal,
      series: [{ key: "p50_ms", label: "p50" }, { key: "p90_ms", label: "p90" }, { key: "p99_ms", label: "p99" }] }),
  ];
  const choice = h("select", { id: "node-choice", onchange: () => context.go("overview", { node: choice.value }) },
    h("option", { value: "" }, "All nodes"));
  const apps = table({
    caption: "Apps",
    key: (row) => row.app,
    columns: [
      { title: "App", cell: (row) => row.app },
      { title: "Users", number: true, cell: (row) => count(row.users) },
      { title: "Connections", number: true, cell: (row) => count(row.connections.total) },
      { title: "WebSocket", number: true, hide: "narrow", cell: (row) => count(row.connections.v1 + row.connections.raw) },
      { title: "Event stream", number: true, hide: "narrow", cell: (row) => count(row.connections.sse + row.connections.sse_raw) },
      { title: "Pushes/s", number: true, cell: (row) => rate(row.rates.accepted) },
      { title: "Deliveries/s", number: true, cell: (row) => rate(row.rates.written) },
      { title: "Dropped/s", number: true, cell: (row) => rate(row.rates.dropped) },
    ],
    empty: "No app is configured.",
  });
  const stages = table({
    caption: "How long delivery takes, over the last minute",
    key: (row) => row.stage,
    columns: [
      { title: "Stage", cell: (row) => STAGES[row.stage] ?? row.stage },
      { title: "p50", number: true, cell: (row) => latency(row.p50_ms) },
      { title: "p90", number: true, cell: (row) => latency(row.p90_ms) },
      { title: "p99", number: true, cell: (row) => latency(row.p99_ms) },
      { title: "Messages", number: true, hide: "narrow", cell: (row) => count(row.count) },
    ],
    empty: "Nothing was delivered yet.",
  });
  const nodes = table({
    caption: "Nodes",
    key: (row) => row.boot,
    columns: [
      { title: "Node", cell: (row) => h("a", { href: "#/nodes" }, row.node) },
      { title: "State", cell: (row) => badge(row.state, row.answered ? (row.state === "ready" ? "good" : "warn") : "calm") },
      { title: "Bus", cell: (row) => (row.answered ? badge(row.bus_up ? "up" : "down", row.bus_up ? "good" : "bad") : badge("no answer", "bad")) },
      { title: "Connections", number: true, cell: (row) => count(row.now?.connections.total) },
      { title: "Memory", number: true, hide: "narrow", cell: (row) => bytes(row.memory_bytes) },
      { title: "Bus lag", number: true, hide: "narrow", cell: (row) => latency(row.bus_lag_ms) },
      { title: "Up for", number: true, hide: "narrow", cell: (row) => duration(Date.now() - row.started_at) },
    ],
    empty: "No node has this name.",
  });
  const lack = h("div", { class: "lack", role: "status" });
  let past = null;
  let wholeAt = -Infinity; // when all nodes had answered last
  let isFilled = false;

  function fillChoice(list) {
    if (node || isFilled) {
      return; // the answer names the chosen one alone
    }
    isFilled = true;
    choice.append(...list.map((one) => h("option", { value: one.boot }, one.node)));
  }

  function showFigures(answer) {
    const { total } = answer;
    const measured = answer.latency.filter((one) => one.count > 0);
    const ready = answer.nodes.filter((one) => one.state === "ready").length;
    const whole = measured.find((one) => one.stage === "total") ?? measured.at(-1);
    const firing = answer.nodes.reduce((sum, one) => sum + (one.alerts_firing ?? 0), 0);
    const sockets = total.connections.v1 + total.connections.raw;
    figures.users.set(count(total.users), total.users ? `${rate(total.connections.total / total.users)} sessions each` : "");
    figures.connections.set(count(total.connections.total), `${count(total.connections.total - sockets)} by event stream`);
    figures.accepted.set(rate(total.rates.accepted), "accepted by the bus");
    figures.written.set(rate(total.rates.written), `${rate(total.rates.dropped)} dropped`);
    figures.latency.set(latency(whole?.p99_ms), whole ? "over a minute" : "nothing lately");
    figures.alerts.set(count(firing), `${ready} of ${answer.nodes.length} nodes ready`);
  }

  function tellLack(text) {
    if (lack.textContent !== text) {
      show(lack, text && notice(text, "warn"));
    }
  }

  function update(answer) {
    past = join(past, answer.history, answer.complete);
    wholeAt = answer.complete ? Date.now() : wholeAt;
    tellLack(lackOf(answer));
    fillChoice(answer.nodes);
    showFigures(answer);
    charts.forEach((one) => one.update(past));
    apps.update(answer.apps);
    nodes.update(answer.nodes);
    stages.update(answer.latency.filter((one) => one.count > 0));
    root.dataset.loaded = "true";
  }

  const load = () => get("/v1/overview", { signal, query: { app, node, history: secondsOf(Date.now() - wholeAt) } });

  show(root,
    h("div", { class: "row" }, h("label", { for: "node-choice" }, "Node"), choice,
      node && h("span", { class: "soft" }, "Latency and nodes are those of this node alone.")),
    lack,
    h("dl", { class: "figures" }, Object.values(figures).map((one) => one.element)),
    h("div", { class: "charts" }, charts.map((one) => one.element),
      h("section", { class: "panel", "aria-label": "How long delivery takes" },
        h("div", { class: "chart-head" }, h("h2", {}, "Delivery by stage"), h("span", { class: "help" }, "the last minute")), stages.element)),
    h("section", { class: "part" }, h("h2", {}, "Apps"), apps.element),
    h("section", { class: "part" }, h("h2", {}, "Nodes"), nodes.element));
  if (node) {
    choice.append(h("option", { value: node, selected: true }, node));
  }
  poll({ load, every: EVERY_MS, signal, onError: context.fail, onData: (answer) => { context.ok(); update(answer); } });
}

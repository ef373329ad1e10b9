// The nodes of the cluster: who is there, what each has, and sending its sessions away before a restart.

import { call, get, name, poll } from "../api.js";
import { announce, badge, confirm, h, show, table } from "../dom.js";
import { count, duration, latency, time } from "../format.js";

export const title = "Nodes";
export const icon = "M4 4h12v5H4zM4 11h12v5H4zM7 6.5h.01M7 13.5h.01M10 6.5h3M10 13.5h3";

const STATES = {
  ready: ["Ready", "good"],
  draining: ["Draining", "warn"],
  starting: ["Starting", "calm"],
};
const EVERY_MS = 2000;

export function mount(root, context) {
  const nodes = table({
    caption: "Nodes of the cluster",
    key: (node) => node.boot,
    columns: [
      { title: "Node", cell: (node) => [node.node, node.self && h("span", { class: "soft" }, " · answers here")] },
      { title: "State", cell: (node) => badge(...STATES[node.state] ?? [node.state, "calm"]) },
      { title: "Sessions", number: true, cell: (node) => count(node.sessions) },
      { title: "Users", number: true, cell: (node) => count(node.users) },
      { title: "Bus lag", number: true, cell: (node) => latency(node.bus_lag_ms) },
      { title: "Window", number: true, hide: "narrow", cell: (node) => duration(node.window_age_ms) },
      { title: "Up for", number: true, hide: "narrow", cell: (node) => h("span", { title: `since ${time(node.started_at)}` }, duration(Date.now() - node.started_at)) },
      { title: "Version", hide: "narrow", cell: (node) => node.version },
      ...(context.operates ? [{ title: "Operate", cell: (node) => button(node) }] : []),
    ],
    empty: "No node is known right now.",
  });
  const remark = h("p", { class: "help" });

  let known = [];

  // The button may be older than what is known of its node by now.
  const latest = (node) => known.find((one) => one.boot === node.boot) ?? node;

  function button(node) {
    const drains = node.state === "draining";
    return h("button", { class: "button small", type: "button", "data-act": drains ? "resume" : "drain",
      "aria-label": `${drains ? "Resume" : "Drain"} ${node.node}`,
      onclick: () => (drains ? resume(node) : drain(latest(node))) }, drains ? "Resume" : "Drain…");
  }

  async function order(node, what, said) {
    try {
      await call("POST", `/v1/nodes/${name(node.boot)}:${what}`, { signal: context.signal });
      announce(said);
      context.ok();
      load().then(update, context.fail);
    } catch (error) {
      context.fail(error);
    }
  }

  async function drain(node) {
    const yes = await confirm({
      title: `Drain ${node.node}?`,
      text: `Its ${count(node.sessions)} sessions are told to connect elsewhere, over the drain window. It takes no new ones until it is resumed.`,
      action: "Drain",
      danger: true,
    });
    if (yes) {
      await order(node, "drain", `${node.node} drains.`);
    }
  }

  const resume = (node) => order(node, "resume", `${node.node} takes sessions again.`);
  const load = () => get("/v1/nodes", { signal: context.signal });

  function update(answer) {
    known = answer.nodes;
    nodes.update(answer.nodes);
    remark.textContent = answer.complete ? "" : "Nothing comes back from the bus: who else is there is not known.";
  }

  show(root, nodes.element, remark);
  poll({ load, every: EVERY_MS, signal: context.signal, onError: context.fail,
    onData: (answer) => { context.ok(); update(answer); } });
}

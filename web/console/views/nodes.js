// The nodes of the cluster: who is there, what each has, and sending its sessions away before a restart.

import { call, get, name, poll } from "../api.js";
import { announce, badge, confirm, h, notice, show, table } from "../dom.js";
import { count, duration, latency, time } from "../format.js";

export const title = "Nodes";
export const icon = "M4 4h12v5H4zM4 11h12v5H4zM7 6.5h.01M7 13.5h.01M10 6.5h3M10 13.5h3";

const STATES = {
  ready: ["Ready", "good"],
  draining: ["Draining", "warn"],
  starting: ["Starting", "calm"],
};
const EVERY_MS = 2000;
const STARTS_MS = 30000; // a node that is not ready for longer, and hears nothing, has no bus

export function mount(root, context) {
  const nodes = table({
    caption: "Nodes of the cluster",
    key: (node) => node.boot,
    looks: (node) => (isHeard(node) ? "" : "past"),
    columns: [
      { title: "Node", cell: (node) => [h("span", { class: "nowrap" }, node.node), node.self && h("span", { class: "soft" }, " · answers here")] },
      { title: "State", nowrap: true, cell: stateOf },
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
  const lack = h("div", { class: "lack", role: "status" });
  let known = [];
  let isComplete = true;
  let wholeAt = null; // when all were heard of last

  // Of the others nothing comes without the bus: what is shown of them is what was.
  const isHeard = (node) => isComplete || node.self;

  function stateOf(node) {
    if (!isHeard(node)) {
      return h("span", { class: "soft" }, wholeAt ? `last seen ${time(wholeAt)}` : "not heard of");
    }
    const isCutOff = !isComplete && node.state === "starting" && Date.now() - node.started_at > STARTS_MS;
    return badge(...isCutOff ? ["Bus down", "bad"] : STATES[node.state] ?? [node.state, "calm"]);
  }

  // The button may be older than what is known of its node by now.
  const latest = (node) => known.find((one) => one.boot === node.boot) ?? node;

  function button(node) {
    const drains = node.state === "draining";
    return h("button", { class: "button small", type: "button", "data-act": drains ? "resume" : "drain",
      disabled: !isHeard(node), title: isHeard(node) ? null : "Nothing reaches it while the bus is down",
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
    isComplete = answer.complete;
    wholeAt = isComplete ? answer.as_of : wholeAt;
    nodes.update(answer.nodes);
    if (isComplete !== (lack.childElementCount === 0)) {
      show(lack, !isComplete && notice("Nothing comes back from the bus: who else is there now is not known.", "warn"));
    }
  }

  show(root, lack, nodes.element);
  poll({ load, every: EVERY_MS, signal: context.signal, onError: context.fail,
    onData: (answer) => { context.ok(); update(answer); } });
}

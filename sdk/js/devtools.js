/* A small panel over the page: what the connection is doing, and the last messages. For developers:
 *     import { showDevtools } from "tidegate/devtools"; showDevtools(gate);
 * Text of messages is only ever set as text. */

const LINES = 50;

const STYLE = `
  :host { position: fixed; inset: auto 1rem 1rem auto; z-index: 2147483647; font: 12px/1.4 system-ui, sans-serif; }
  section { width: 22rem; max-height: 20rem; overflow: auto; padding: .75rem; border-radius: .5rem;
            color: #e8eaed; background: #202124; box-shadow: 0 4px 24px #0006; }
  header { display: flex; gap: .5rem; align-items: center; }
  b { flex: 1; }
  button { font: inherit; color: inherit; background: #3c4043; border: 0; border-radius: .25rem; padding: .125rem .5rem; }
  button:focus-visible { outline: 2px solid #8ab4f8; }
  ol { list-style: none; margin: .5rem 0 0; padding: 0; font-family: ui-monospace, monospace; }
  li { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; border-top: 1px solid #3c4043; padding: .125rem 0; }
`;

const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

/* Returns what takes it off again. */
export function showDevtools(gate) {
  const host = make("div");
  const root = host.attachShadow({ mode: "open" });
  const sheet = new CSSStyleSheet(); // no inline style: it works under a strict policy, too
  sheet.replaceSync(STYLE);
  root.adoptedStyleSheets = [sheet];
  const state = make("b", { textContent: "…" });
  const lines = make("ol");
  const close = make("button", { textContent: "Close", onclick: () => remove() });
  root.append(make("section", { ariaLabel: "tidegate" }, make("header", {}, state, close), lines));

  const add = (kind, words) => {
    lines.prepend(make("li", { textContent: `${new Date().toLocaleTimeString()} ${kind} ${words}` }));
    if (lines.childElementCount > LINES) lines.lastElementChild.remove();
  };
  const show = (value) => {
    state.textContent = [value.state, value.transport, value.code, value.why].filter(Boolean).join(" · ");
    add("state", state.textContent);
  };
  const offs = [
    gate.on("state", show),
    gate.on("message", ({ type, group, data }) => add("msg", [type, group, JSON.stringify(data)].filter(Boolean).join(" "))),
    gate.on("gap", (gap) => add("gap", JSON.stringify(gap))),
    gate.on("groups", (groups) => add("groups", groups.join(", "))),
  ];
  const remove = () => {
    offs.forEach((off) => off());
    host.remove();
  };
  show(gate.state);
  document.body.append(host);
  return remove;
}

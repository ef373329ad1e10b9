// Elements without markup: what users and clients chose only ever becomes text.

/** h("a", {href: "#x", class: "b", onclick: f}, "text", child, [more]) makes an element. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

const SVG = "http://www.w3.org/2000/svg";

/** An icon of 20 by 20, drawn by lines; decoration, so it has no name. */
export function icon(path) {
  const attributes = { viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true", focusable: "false" };
  const shape = fill(document.createElementNS(SVG, "path"), { d: path }, []);
  return fill(document.createElementNS(SVG, "svg"), attributes, [shape]);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value);
    }
  }
  element.append(...flat(children));
  return element;
}

function flat(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Puts these children in place of the old ones. */
export function show(element, ...children) {
  element.replaceChildren(...flat(children));
}

/** Says something to who can't see it. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

/**
 * A table: columns are {title, cell: (row) => text or element, number: true, nowrap: true, hide: "narrow"}; the first
 * cell of a row is its header. update(rows) shows other rows; rows of the same key keep their place in the
 * document, and a cell whose content looks the same keeps its elements, with the handlers of the first row
 * that looked so. looks(row), if given, is the class of its row. On narrow screens each row is a card.
 */
export function table({ caption, columns, key, looks, empty = "Nothing here." }) {
  const body = h("tbody");
  const head = h("tr", {}, columns.map((column) => h("th", { scope: "col", class: classOf(column) }, column.title)));
  const element = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { class: "cards" }, h("caption", { class: "unseen" }, caption), h("thead", {}, head), body));
  let known = new Map();

  function fillRow(tr, row) {
    columns.forEach((column, index) => {
      const content = column.cell(row);
      const cell = tr.children[index] ?? tr.appendChild(index === 0
        ? h("th", { scope: "row", class: classOf(column) })
        : h("td", { class: classOf(column), "data-title": column.title }));
      if (content instanceof Node || Array.isArray(content)) {
        replace(cell, content);
      } else if (cell.textContent !== String(content ?? "")) {
        cell.textContent = content ?? "";
      }
    });
  }

  function update(rows) {
    const next = new Map();
    const elements = rows.map((row) => {
      const id = key(row);
      const tr = known.get(id) ?? h("tr");
      fillRow(tr, row);
      tr.className = looks?.(row) ?? "";
      next.set(id, tr);
      return tr;
    });
    known = next;
    if (elements.length === 0) {
      show(body, h("tr", {}, h("td", { colspan: columns.length, class: "empty" }, empty)));
    } else if (elements.some((tr, index) => body.children[index] !== tr) || body.children.length !== elements.length) {
      show(body, elements);
    }
  }

  return { element, update };
}

// What looks the same stays: a button may be about to be pressed. Who is on a button that has become another
// stays on that, and hears of it.
function replace(cell, content) {
  const fresh = h(cell.tagName, {}, content);
  const isSame = fresh.childNodes.length === cell.childNodes.length &&
    [...fresh.childNodes].every((node, index) => cell.childNodes[index].isEqualNode(node));
  if (isSame) {
    return;
  }
  const isFocused = cell.contains(document.activeElement);
  show(cell, [...fresh.childNodes]);
  if (isFocused) {
    cell.querySelector("button, a, input, select")?.focus();
  }
}

function classOf(column) {
  return [column.number && "number", column.nowrap && "nowrap", column.hide && `hide-${column.hide}`].filter(Boolean).join(" ") || null;
}

/** kind: "good", "warn", "bad", "calm" */
export function badge(text, kind = "calm") {
  return h("span", { class: `badge ${kind}` }, text);
}

/** A box for a result: kind "good" or "bad". */
export function notice(text, kind) {
  return h("p", { class: `notice ${kind}`, role: kind === "bad" ? "alert" : "status" }, text);
}

/** Asks before something is done; a promise of true or false. */
export function confirm({ title, text, action, danger = false }) {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const button = h("button", { class: danger ? "button danger" : "button primary", value: "yes" }, action);
    const dialog = h("dialog", { "aria-labelledby": "confirm-title", "aria-describedby": "confirm-text" },
      h("form", { method: "dialog" },
        h("h2", { id: "confirm-title" }, title),
        h("p", { id: "confirm-text" }, text),
        h("div", { class: "row end" },
          h("button", { class: "button", value: "no", autofocus: true }, "Cancel"), button)));
    dialog.addEventListener("close", () => {
      dialog.remove();
      before?.focus();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

// The frame around the views: signing in, navigation, themes.

import { announce, h, icon, notice, show } from "./dom.js";
import { session } from "./api.js";
import { views } from "./views/index.js";

const FIRST = "overview";
const ICONS = {
  light: "M10 3v1.5M10 15.5v1.5M3 10h1.5M15.5 10h1.5M5 5l1 1M14 14l1 1M15 5l-1 1M6 14l-1 1M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7",
  dark: "M16 11.5A6.5 6.5 0 1 1 8.5 4a5.2 5.2 0 0 0 7.5 7.5",
  out: "M12 4H5v12h7M9 10h8M14 7l3 3-3 3",
};
const app = document.getElementById("app");

let who = null;
let leave = null; // ends the view that is shown
let frame = null; // the elements around it

// ---- theme ----

const prefersDark = matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : prefersDark.matches;
}

function keepTheme(theme) {
  try {
    localStorage.setItem("tidegate.theme", theme);
  } catch {
    // A browser that keeps nothing: it holds for this page.
  }
}

function themeButton() {
  const button = h("button", { class: "button quiet", type: "button", onclick: () => {
    const next = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    keepTheme(next);
    paint();
    document.dispatchEvent(new Event("theme-changed"));
  } });
  const paint = () => {
    const other = isDark() ? "light" : "dark";
    button.setAttribute("aria-label", `Use the ${other} theme`);
    button.title = `Use the ${other} theme`;
    show(button, icon(ICONS[other]));
  };
  prefersDark.addEventListener("change", () => {
    paint();
    document.dispatchEvent(new Event("theme-changed"));
  });
  paint();
  return button;
}

// ---- address ----

function readAddress() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { name: Object.hasOwn(views, path) ? path : FIRST, params: new URLSearchParams(query) };
}

export function addressOf(name, params = {}) {
  const pairs = Object.entries(params).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const query = new URLSearchParams(pairs).toString();
  return `#/${name}${query ? `?${query}` : ""}`;
}

// ---- signing in ----

function showSignIn(why = "") {
  leave?.();
  leave = null;
  frame = null;
  who = null;
  document.title = "Sign in · tidegate console";
  const message = h("div", { "aria-live": "polite" }, why && notice(why, "bad"));
  const key = h("input", { id: "key", type: "password", autocomplete: "current-password", spellcheck: "false",
    autocapitalize: "off", required: true, "aria-describedby": "key-help" });
  const button = h("button", { class: "button primary", type: "submit" }, "Sign in");
  const form = h("form", { class: "panel sign-in", onsubmit: async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      who = await session.begin(key.value.trim());
      key.value = "";
      showFrame({ isFirst: false });
    } catch (error) {
      show(message, notice(error.message, "bad"));
      key.focus();
      key.select();
    } finally {
      button.disabled = false;
    }
  } },
    h("div", { class: "brand" }, h("img", { src: "icon.svg", alt: "", width: "40", height: "40" }), h("h1", {}, "tidegate")),
    message,
    h("label", { for: "key" }, "API key"),
    key,
    h("p", { id: "key-help", class: "help" },
      "A key with the scope ", h("code", {}, "monitor"), " sees everything; one with ", h("code", {}, "admin"), " also operates."),
    button);
  show(app, h("main", { id: "main", class: "centre" }, form));
  key.focus();
}

async function signOut() {
  await session.end().catch(() => {});
  showSignIn();
}

// ---- the frame ----

function makeFrame() {
  const links = Object.entries(views).map(([name, view]) =>
    h("a", { href: `#/${name}`, "data-view": name }, icon(view.icon), h("span", {}, view.title)));
  const chosen = h("select", { id: "app-choice", onchange: chooseApp },
    h("option", { value: "" }, "All apps"), who.apps.map((name) => h("option", { value: name }, name)));
  const role = who.role === "operate" ? "Operator" : "Read only";
  const main = h("main", { id: "main", tabindex: "-1" });
  show(app,
    h("header", { class: "top" },
      h("a", { class: "brand", href: `#/${FIRST}`, "aria-label": `tidegate console, cluster ${who.cluster}` },
        h("img", { src: "icon.svg", alt: "", width: "28", height: "28" }), h("span", { class: "name" }, who.cluster)),
      h("span", { class: "where hide-narrow" }, `by ${who.node} · ${who.version}`),
      h("div", { class: "row end" },
        who.apps.length > 1 && [h("label", { for: "app-choice", class: "unseen" }, "App"), chosen],
        h("span", { class: "badge calm hide-narrow", title: who.key ? `Key ${who.key} of app ${who.app}` : "No key is needed here" }, role),
        themeButton(),
        !who.open && h("button", { class: "button quiet", type: "button", onclick: signOut, "aria-label": "Sign out", title: "Sign out" }, icon(ICONS.out)))),
    h("nav", { class: "side", "aria-label": "Views" }, links),
    main);
  return { main, links, chosen };
}

function showFrame({ isFirst }) {
  frame = makeFrame();
  mount({ isFirst });
}

function chooseApp() {
  const { name, params } = readAddress();
  writeAddress(name, params, frame.chosen.value);
  mount();
}

function writeAddress(name, params, app) {
  history.replaceState(null, "", addressOf(name, { ...Object.fromEntries(params), app }));
}

// An address says which app it is about, so that it means the same to whom it is given.
function agreeOnApp(name, params) {
  if (who.apps.includes(params.get("app"))) {
    frame.chosen.value = params.get("app");
  } else if (frame.chosen.value) {
    writeAddress(name, params, frame.chosen.value);
  }
}

// Mounts the view of the address; its heading gets the focus, so that a screen reader begins there.
function mount({ isFirst = false } = {}) {
  leave?.();
  const { name, params } = readAddress();
  const view = views[name];
  agreeOnApp(name, params);
  const over = new AbortController();
  const heading = h("h1", { tabindex: "-1" }, view.title);
  const trouble = h("div", { class: "trouble" });
  const root = h("div", { class: "view", "data-view": name });
  document.title = `${view.title} · tidegate ${who.cluster}`;
  for (const link of frame.links) {
    link.toggleAttribute("aria-current", link.dataset.view === name);
    if (link.dataset.view === name) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ inline: "center", block: "nearest" });
    }
  }
  show(frame.main, heading, trouble, root);
  const context = {
    session: who,
    operates: who.role === "operate",
    params,
    app: frame.chosen.value,
    signal: over.signal,
    go: (to, query) => { location.hash = addressOf(to, query); },
    fail: (error) => {
      if (error.name !== "AbortError" && trouble.textContent !== error.message) {
        show(trouble, notice(error.message, "bad"));
      }
    },
    ok: () => { show(trouble); },
  };
  const end = view.mount(root, context);
  leave = () => {
    over.abort();
    if (typeof end === "function") {
      end();
    }
    leave = null;
  };
  if (!isFirst) {
    heading.focus({ preventScroll: true });
    window.scrollTo(0, 0);
    announce(view.title);
  }
}

// ---- start ----

addEventListener("hashchange", () => {
  if (who) {
    mount();
  }
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address is the view's
  document.getElementById("main")?.focus();
});
document.addEventListener("signed-out", () => showSignIn("You were signed out."));

try {
  who = await session.read();
  if (who.signed_in) {
    showFrame({ isFirst: true });
  } else {
    showSignIn();
  }
} catch (error) {
  show(app, h("main", { id: "main", class: "centre" }, notice(error.message, "bad")));
}

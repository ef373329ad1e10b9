/* The demo page: shows what a session receives, and pushes. */

import { Session } from "/demo/session.js";

const SHOWN_MESSAGES = 200;
const SLOW_MS = 5000; // over it a message was kept for us rather than slow

const $ = (id) => document.getElementById(id);
let received = 0;

const session = new Session({
  state(kind, words) {
    $("state").dataset.state = kind;
    $("state-text").textContent = words;
    const active = kind === "on" || kind === "wait";
    $("toggle").textContent = active ? "Disconnect" : "Connect";
    $("drop").disabled = kind !== "on";
    if (kind !== "on") $("sid").textContent = "none";
  },
  welcome(frame) {
    $("sid").textContent = frame.sid;
    $("epoch").textContent = frame.epoch;
    $("resumed").textContent = frame.resumed ?? "none";
    showGroups();
  },
  message: showMessage,
  revoke(frame) {
    for (const entry of [...$("log").children]) if (entry.dataset.id === frame.id) entry.remove();
  },
  gap(frame) {
    addEntry(`Messages may be missing (${frame.why}).`, frame.q === "*" ? "gap in every queue" : `gap in queue ${frame.q}`, "note");
  },
  groups: showGroups,
});

/* The same user in every tab of this browser, so that two tabs show each message; ?user= wins. */
function chooseUser() {
  const wanted = new URLSearchParams(location.search).get("user") || localStorage.getItem("user");
  return wanted || `guest-${Math.random().toString(36).slice(2, 6)}`;
}

function become(user) {
  localStorage.setItem("user", user);
  $("user").value = user;
  session.start(user);
}

function showMessage(frame) {
  received += 1;
  $("count").textContent = received;
  const late = Date.now() - frame.ts;
  const words = [
    frame.g ? `group ${frame.g}` : null,
    frame.type || null,
    Number.isFinite(late) ? latencyWords(late) : null,
    frame.pos ? `pos ${frame.pos}` : null,
    frame.id ? `id ${frame.id}` : null,
  ];
  addEntry(textOf(frame.data ?? frame.data_base64), words.filter(Boolean).join(" · "), null, frame.id);
}

function latencyWords(ms) {
  return ms > SLOW_MS ? `kept for ${Math.round(ms / 1000)} s` : `${Math.max(0, ms)} ms`;
}

function textOf(data) {
  if (typeof data === "string") return data;
  if (data && typeof data.text === "string" && Object.keys(data).length === 1) return data.text;
  return JSON.stringify(data, null, 1);
}

/* Newest last, as a log is read; the view follows unless its reader has scrolled up. */
function addEntry(text, meta, kind, id) {
  const entry = $("message").content.cloneNode(true).firstElementChild;
  entry.querySelector(".text").textContent = text;
  entry.querySelector(".meta").textContent = meta;
  if (kind) entry.classList.add(kind);
  if (id) entry.dataset.id = id;
  const log = $("log");
  log.hidden = false;
  $("empty").hidden = true;
  const follows = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  log.append(entry);
  while (log.children.length > SHOWN_MESSAGES) log.firstElementChild.remove();
  if (follows) log.scrollTop = log.scrollHeight;
}

function showGroups() {
  const shown = [...session.groups].filter(([, group]) => group.own || group.isIn).map(([name]) => name);
  const items = shown.sort().map((name) => {
    const item = document.createElement("li");
    const leave = document.createElement("button");
    leave.type = "button";
    leave.className = "quiet";
    leave.textContent = "Leave";
    leave.setAttribute("aria-label", `Leave ${name}`);
    leave.addEventListener("click", () => leaveGroup(name));
    item.append(name, leave);
    return item;
  });
  $("groups").replaceChildren(...items);
}

function showResult(id, words, isBad = false) {
  $(id).textContent = words;
  $(id).classList.toggle("bad", isBad);
}

async function joinGroup(name) {
  try {
    await session.join(name);
    showResult("join-result", `Joined ${name}.`);
    $("push-group").value = name;
  } catch (error) {
    showResult("join-result", `Not joined: ${error.message}`, true);
  }
}

async function leaveGroup(name) {
  try {
    await session.leave(name);
    showResult("join-result", `Left ${name}.`);
    $("join-group").focus(); // the button that had it is gone
  } catch (error) {
    showResult("join-result", `Not left: ${error.message}`, true);
  }
}

function target() {
  switch (new FormData($("push")).get("to")) {
    case "group":
      return { groups: [$("push-group").value] };
    case "all":
      return { all: true };
    default:
      return { users: [session.user] };
  }
}

async function push(text) {
  const response = await fetch("/demo/push", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ to: target(), type: "demo.text", data: { text } }),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail || answer.title);
  return answer;
}

async function submitPush() {
  try {
    const answer = await push($("text").value);
    showResult("push-result", `Accepted as ${answer.id}.`);
    $("text").value = "";
  } catch (error) {
    showResult("push-result", `Not pushed: ${error.message}`, true);
  }
}

function onSubmit(id, handler) {
  $(id).addEventListener("submit", (event) => {
    event.preventDefault();
    handler();
  });
}

onSubmit("push", submitPush);
onSubmit("join", () => joinGroup($("join-group").value));
onSubmit("identity", () => {
  session.forget();
  become($("user").value);
});

$("push").addEventListener("change", () => {
  $("group-field").hidden = new FormData($("push")).get("to") !== "group";
  $("push-group").required = !$("group-field").hidden;
});
$("clear").addEventListener("click", () => {
  received = 0;
  $("count").textContent = received;
  $("log").replaceChildren();
  $("log").hidden = true;
  $("empty").hidden = false;
});
$("drop").addEventListener("click", () => session.lose());
$("toggle").addEventListener("click", () => {
  if (session.isActive()) session.stop("off", "disconnected");
  else session.start(session.user);
});

become(chooseUser());

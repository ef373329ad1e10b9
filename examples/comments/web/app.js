import { Tidegate } from "/sdk/tidegate.js";

const $ = (id) => document.getElementById(id);
const user = new URLSearchParams(location.search).get("user") ?? /\buser=([^;]+)/.exec(document.cookie)?.[1] ?? "ann";
document.cookie = `user=${encodeURIComponent(user)}; SameSite=Strict; Path=/`;
$("who").textContent = user;

const shown = new Set();

/* Those that come late stand where they belong. */
function show(comment) {
  if (shown.has(comment.id)) return;
  shown.add(comment.id);
  const item = document.createElement("li");
  const author = document.createElement("b");
  author.textContent = comment.author;
  item.append(author, ` ${comment.text}`);
  item.dataset.time = comment.time;
  const later = [...$("comments").children].find((other) => Number(other.dataset.time) > comment.time);
  $("comments").insertBefore(item, later ?? null);
}

async function ask(path) {
  const answer = await fetch(path);
  /* Whoever isn't signed in won't be by asking again; a proxy's 502 passes. */
  if (!answer.ok) throw Object.assign(new Error(`${path}: ${answer.status}`), { final: answer.status === 401 });
  return answer;
}

/* The state is the business system's; messages only say what changed. */
async function load() {
  try {
    for (const comment of await (await ask("/comments")).json()) show(comment);
    $("failure").textContent = "";
  } catch {
    $("failure").textContent = "The comments could not be loaded; this is tried again.";
    setTimeout(load, 2000);
  }
}

const settings = await (await ask("/settings")).json();
const gate = new Tidegate(settings.gateway, {
  token: async () => (await ask("/push-token")).text(),
  share: user, // one connection for all tabs of this user
});
gate.onMessage("comment.created", show);
gate.onMessage("mention", (comment) => {
  $("mention").textContent = `${comment.author} mentioned you: ${comment.text}`;
  $("mention").hidden = false;
});
gate.on("gap", load);
gate.on("state", ({ state }) => {
  $("state").textContent = { open: "live", connecting: "connecting …", waiting: "offline, trying again", closed: "closed" }[state];
  document.body.dataset.state = state;
});
/* At once, so that there is something to read; and when the group is joined, for what was written before it was. */
load();
gate.join(settings.group).then(load, () => ($("failure").textContent = "New comments are not shown here. Reload the page."));

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = JSON.stringify({ text: $("text").value, page: gate.origin });
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch("/comments", { method: "POST", headers, body }).catch(() => ({ ok: false }));
  $("failure").textContent = answer.ok ? "" : "That did not work. Try again.";
  if (!answer.ok) return;
  show(await answer.json());
  $("text").value = "";
});

import { Tidegate } from "/sdk/tidegate.js";

const $ = (id) => document.getElementById(id);
const user = new URLSearchParams(location.search).get("user") ?? /\buser=([^;]+)/.exec(document.cookie)?.[1] ?? "ann";
document.cookie = `user=${encodeURIComponent(user)}; SameSite=Strict; Path=/`;
$("who").textContent = user;

const shown = new Set();

function show(comment) {
  if (shown.has(comment.id)) return;
  shown.add(comment.id);
  const item = document.createElement("li");
  const author = document.createElement("b");
  author.textContent = comment.author;
  item.append(author, ` ${comment.text}`);
  $("comments").append(item);
}

/* The state is the business system's; messages only say what changed. */
async function load() {
  for (const comment of await (await fetch("/comments")).json()) show(comment);
}

const settings = await (await fetch("/settings")).json();
const gate = new Tidegate(settings.gateway, {
  token: async () => (await fetch("/push-token")).text(),
  groups: [settings.group],
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
await load();

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const body = JSON.stringify({ text: $("text").value, page: gate.origin });
  const answer = await fetch("/comments", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  $("failure").textContent = answer.ok ? "" : "That did not work. Try again.";
  if (answer.status === 201) show(await answer.json());
  if (answer.ok) $("text").value = "";
});

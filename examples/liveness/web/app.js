import { Tidegate } from "/sdk/tidegate.js";

const $ = (id) => document.getElementById(id);
const settings = await (await fetch("/settings")).json();
let ticking, gate;

function showOnly(name) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
}

function finish(words, ok) {
  clearInterval(ticking);
  delete sessionStorage.waiting;
  $("state").textContent = "";
  $("words").textContent = words;
  $("words").dataset.ok = ok;
  showOnly("result");
}

function onMessage({ step, passed }, { final }) {
  if (final) finish(passed ? "Passed: you are alive." : "Not passed.", passed);
  else $(`step-${step}`).dataset.done = true;
}

function wait({ case: id, ticket, seconds, endsAt }) {
  showOnly("wait");
  for (const item of document.querySelectorAll(".steps li")) delete item.dataset.done;
  $("link").href = `/phone?case=${id}`;
  $("time").max = seconds;
  ticking = setInterval(() => ($("time").value = (endsAt - Date.now()) / 1000), 250);
  gate?.close();
  const own = (gate = new Tidegate(settings.gateway, { ticket }));
  gate.onMessage("liveness", onMessage);
  gate.on("state", ({ state, code }) => {
    if (own !== gate) return; // the end of a check before this one
    document.body.dataset.state = state;
    const isOver = state === "closed" && code === 4006 && sessionStorage.waiting;
    if (isOver) finish("The time is over.", false); // the ticket has ended without a result
    else if (state === "closed") $("state").textContent = code === 4001 ? "This goes on in another window." : "";
    else $("state").textContent = state === "open" ? "waiting for the camera" : "connecting …";
  });
}

$("begin").onclick = async () => {
  const answer = await fetch("/cases", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
  $("failure").textContent = answer.ok ? "" : "That did not work. Try again.";
  if (!answer.ok) return;
  const begun = await answer.json();
  begun.endsAt = Date.now() + begun.seconds * 1000;
  sessionStorage.waiting = JSON.stringify(begun);
  wait(begun);
};
$("again").onclick = () => showOnly("start");

if (sessionStorage.waiting) wait(JSON.parse(sessionStorage.waiting));

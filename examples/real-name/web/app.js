import { Tidegate } from "/sdk/tidegate.js";

const $ = (id) => document.getElementById(id);
const settings = await (await fetch("/settings")).json();
let gate;

function showOnly(name) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
}

function showResult({ state, name }) {
  showOnly("result");
  $("words").textContent = state === "verified" ? `Welcome, ${name}. You are verified.` : "This could not be verified.";
  $("words").dataset.ok = state === "verified";
}

/* What this page waits for lives in the session storage of the tab: a reload goes on where it was. */
function wait({ id, ticket }) {
  showOnly("wait");
  $("code").src = `/code?case=${id}`;
  $("code").onerror = () => ($("code").hidden = true);
  $("link").href = `/third-party?case=${id}`;
  gate?.close();
  const own = (gate = new Tidegate(settings.gateway, { ticket }));
  gate.onMessage("verification", (told, { final }) => {
    if (told.state === "scanned") $("state").textContent = "scanned; go on with your phone";
    if (!final) return;
    sessionStorage.result = JSON.stringify(told);
    showResult(told);
  });
  gate.on("state", ({ state, code }) => {
    if (own !== gate) return; // the end of a verification before this one
    document.body.dataset.state = state;
    if (state === "open") $("state").textContent = "waiting for your phone";
    else if (state !== "closed") $("state").textContent = "connecting …";
    else sayWhy(code);
  });
}

/* A ticket is for one page, the last one that showed it; and it ends. */
function sayWhy(code) {
  const isWaiting = !sessionStorage.result;
  $("state").textContent = isWaiting && code === 4001 ? "This goes on in another window." : "";
  if (isWaiting && code === 4006) startOver("The time is over. Begin again.");
}

function startOver(words = "") {
  sessionStorage.clear();
  showOnly("start");
  $("failure").textContent = words;
}

$("begin").onclick = async () => {
  $("failure").textContent = "";
  const answer = await fetch("/cases", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
  if (!answer.ok) return startOver("That did not work. Try again.");
  const begun = await answer.json();
  sessionStorage.waiting = JSON.stringify(begun);
  wait(begun);
};
$("again").onclick = () => startOver();

if (sessionStorage.result) showResult(JSON.parse(sessionStorage.result));
else if (sessionStorage.waiting) wait(JSON.parse(sessionStorage.waiting));

const id = new URLSearchParams(location.search).get("case");
const say = (words) => (document.getElementById("words").textContent = words);

async function tell(ok) {
  const answer = await fetch(`/steps?case=${id}&ok=${ok}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: "{}",
  });
  say(answer.ok ? "Done. Look at the other screen." : answer.status === 410 ? "It is over." : "That did not work. Try again.");
}

document.getElementById("step").onclick = () => tell("yes");
document.getElementById("fail").onclick = () => tell("no");

/* node push.mjs USER TEXT: one push from Node.js, with nothing but its own fetch(). */

import { randomUUID } from "node:crypto"; // Node 18 has no global one

/* Resolves when the gateway has it. The id makes a second try harmless: the message is delivered once. */
export async function push(user, data, tries = 5) {
  const message = { to: { users: [user] }, type: "note", id: randomUUID(), data };
  for (;;) {
    const answer = await fetch(`${process.env.TIDEGATE_API}/v1/messages`, {
      method: "POST",
      headers: { Authorization: `Bearer ${process.env.TIDEGATE_API_KEY}`, "Content-Type": "application/json" },
      body: JSON.stringify(message),
      signal: AbortSignal.timeout(10000),
    }).catch((error) => error);
    if (answer.ok) return answer.json();
    const mayTryAgain = answer instanceof Error || answer.status === 429 || answer.status === 503;
    if (!mayTryAgain || --tries === 0) throw answer instanceof Error ? answer : new Error(await answer.text());
    const seconds = Number(answer.headers?.get("Retry-After") ?? 1);
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  }
}

const [user, text] = process.argv.slice(2);
console.log((await push(user, { text })).id);

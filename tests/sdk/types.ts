import { Tidegate, TidegateError, type Message, type State } from "./tidegate";

interface Comment {
  id: number;
  text: string;
}

const gate = new Tidegate<{ "comment.created": Comment }>("https://push.example.com", {
  token: async () => "token",
  groups: ["article:7"],
  share: "42",
});
const off: () => void = gate.onMessage("comment.created", (comment, message: Message<Comment>) => {
  const text: string = comment.text + message.id;
  return text;
});
gate.on("state", (state: State) => state.in_ms);
gate.on("message", async (message) => message.time);
gate.join("room:1").catch((error: TidegateError) => error.code);
gate.join("room:2", async () => "token").then(() => gate.groups);
off();
// @ts-expect-error there is no such type
gate.onMessage("comment.deleted", () => {});

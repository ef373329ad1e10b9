/** Types of messages by their `type`: `new Tidegate<{"comment.created": Comment}>(…)`. */
export type MessageTypes = Record<string, unknown>;

export interface Message<Data = unknown> {
  /** The same for every repeat, which is shown once. */
  id: string;
  type?: string;
  /** When it was pushed to this group alone. */
  group?: string;
  /** When it was accepted, in milliseconds since 1970. */
  time: number;
  /** W3C traceparent of the push, when it had one. */
  trace?: string;
  /** The last message of a ticket. */
  final: boolean;
  /** As pushed; bytes as a Uint8Array. */
  data: Data;
}

export type Transport = "websocket" | "sse" | "poll";

export interface State {
  state: "connecting" | "open" | "waiting" | "closed";
  /** open */
  transport?: Transport;
  /** open: the session, for `to.sessions` and `except.sessions` of a push. */
  sid?: string;
  /** waiting, closed: the close code (docs/protocol.md). */
  code?: number;
  why?: string;
  /** waiting: until the next try. */
  in_ms?: number;
}

/** Messages that may be lost: load the page's state again. */
export interface Gap {
  q: string;
  from?: string;
  to?: string;
  why: "expired" | "overflow" | "bus" | "epoch";
}

export interface Events {
  message: Message;
  state: State;
  gap: Gap;
  /** A message was cancelled: take it back. */
  revoke: { id: string };
  /** One of them is no longer joined. */
  left: string;
  /** A group that the session may not be in. */
  refused: { g: string; code: string };
  /** Names of the groups of this tab, and of those that the API joined the session to. */
  groups: string[];
  welcome: Record<string, unknown>;
}

export interface Options {
  /** Needed where the gateway has several. */
  app?: string;
  /** Fetches a token, for each connect and before the old one ends. An error with `final: true` ends the session, any
   * other is tried again. Without it the session is anonymous, or the cookie says whose it is. */
  token?: () => Promise<string | undefined> | string | undefined;
  /** What an anonymous page waits with; its claim survives a reload in session storage. */
  ticket?: string;
  groups?: string[];
  device?: string;
  /** Up to 1 KiB of JSON about the device. */
  attrs?: Record<string, unknown>;
  /** A tag of this page, for `except.origin` of a push; drawn by default, see `origin`. Of no effect with `share`: the
   * other tabs are to get the message. */
  origin?: string;
  /** One session for all tabs of the same name, app and gateway. The name must say whose it is (the user's id): tabs of
   * two users must not share. */
  share?: string;
  /** auto: a SharedWorker, else the tab that holds a Web Lock. */
  sharing?: "auto" | "worker" | "locks" | "none";
  /** The worker's script, where a bundler moved this module: tidegate.js as it is, of the page's origin. */
  workerUrl?: string | URL;
  /** With a ticket: names this page, so that a reload goes on as the same one. Kept in session storage by default. */
  claim?: string;
  /** In this order, the next one when one does not get through. */
  transports?: Transport[];
  /** How many `send`s wait while there is no line. */
  queue?: number;
}

export class TidegateError extends Error {
  /** That of the gateway's `err`, or: `unknown` (the line was lost before the answer), `offline`, `queue_full`, `closed`,
   * `left` (before a join was in force), `token` (of a group: none could be had). */
  code: string;
}

export class Tidegate<Types extends MessageTypes = MessageTypes> {
  /** url: the gateway's client listener, such as "https://push.example.com". */
  constructor(url: string | URL, options?: Options);
  readonly origin: string;
  readonly state: State;
  readonly groups: string[];
  /** Returns what takes the handler off again. */
  on<Name extends keyof Events>(event: Name, handler: (value: Events[Name]) => unknown): () => void;
  /** Messages of one type. A message that asks for it is confirmed when all handlers are done, a promise that they
   * return included; without one, or when one throws, it is not, and its repeat is shown again. */
  onMessage<Name extends keyof Types & string>(
    type: Name,
    handler: (data: Types[Name], message: Message<Types[Name]>) => unknown,
  ): () => void;
  /** Resolves when whatever is pushed to the group arrives: load the page's state after it. A function fetches a token for
   * each connection. */
  join(group: string, token?: string | (() => Promise<string> | string)): Promise<void>;
  leave(group: string): Promise<void>;
  /** To the app's webhook (`client.message`). Waits for a line; resolves when the gateway has it. */
  send(type: string, data: unknown): Promise<void>;
  close(): Promise<void>;
}

import type { Tidegate } from "./tidegate.js";

/** Shows a small panel of what happens, for developers. Returns what takes it off again. */
export function showDevtools(gate: Tidegate<any>): () => void;

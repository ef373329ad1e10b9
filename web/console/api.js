// The gateway's API, by the console's session.

/** What went wrong: status (0: no answer), code (stable), message (for people). */
export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

const HEADERS = { "X-Tidegate-Console": "1" };

// A proxy in front may answer in words of its own.
function parse(text, status) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    throw new ApiError(status, "unreadable", `Something before the gateway answered with status ${status}.`);
  }
}

async function ask(url, { method = "GET", body, signal } = {}) {
  const headers = body === undefined ? HEADERS : { ...HEADERS, "Content-Type": "application/json" };
  let response;
  try {
    response = await fetch(url, {
      method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") {
      throw error;
    }
    throw new ApiError(0, "unreachable", "The gateway does not answer.");
  }
  const data = parse(await response.text(), response.status);
  if (!response.ok) {
    const failure = new ApiError(response.status, data?.code ?? "failed", data?.detail ?? data?.title ?? response.statusText);
    if (failure.code === "signed_out") {
      document.dispatchEvent(new Event("signed-out"));
    }
    throw failure;
  }
  return data;
}

function withQuery(path, query = {}) {
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(pairs).toString();
  return text ? `${path}?${text}` : path;
}

/**
 * call("GET", "/v1/users/42", {query: {app: "shop"}, body, signal}): the answer's JSON, or an ApiError.
 * Names in paths are written by name().
 */
export function call(method, path, { query, body, signal } = {}) {
  return ask(withQuery(`api${path}`, query), { method, body, signal });
}

export const get = (path, options) => call("GET", path, options);

/** A name as a part of a path. */
export const name = encodeURIComponent;

export const session = {
  read: () => ask("session"),
  begin: (key) => ask("session", { method: "POST", body: { key } }),
  end: () => ask("session", { method: "DELETE" }),
};

function sleep(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

/** Resolves once the page is to be seen again. */
function whenVisible(signal) {
  return new Promise((resolve) => {
    if (!document.hidden || signal.aborted) {
      resolve();
      return;
    }
    document.addEventListener("visibilitychange", resolve, { once: true, signal });
    signal.addEventListener("abort", resolve, { once: true });
  });
}

/**
 * Asks again and again until signal aborts: load(signal) gives data to onData; a failure goes to onError
 * and is tried again later. Nothing is asked while the page is hidden. every: ms between two; 0 for long
 * polls, whose answers take their time.
 */
export async function poll({ load, onData, onError, every, signal }) {
  while (!signal.aborted) {
    let pause = every;
    try {
      const data = await load(signal);
      if (!signal.aborted) {
        onData(data);
      }
    } catch (error) {
      if (signal.aborted || error.name === "AbortError") {
        return;
      }
      onError?.(error);
      pause = Math.max(every, 2000);
    }
    await sleep(pause, signal);
    await whenVisible(signal);
  }
}

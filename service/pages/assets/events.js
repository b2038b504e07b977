// Requests to the service: JSON in, and JSON or server-sent events out, read with fetch: EventSource cannot send
// a body. Knows the wire; nothing of the pages.

import { keyHeaders, wantKey } from "./key.js";

/** An error as the service tells it: a title, and a detail with the way out. */
export class Problem extends Error {
  constructor({ title, detail, status = 0 }) {
    super(detail);
    this.title = title;
    this.status = status;
  }
}

/** Send JSON; what is answered, as JSON. Throws a Problem. */
export async function post(path, body) {
  return (await request(path, { body })).json();
}

/** What is at an address, as JSON. Throws a Problem, or an AbortError when `signal` says so. */
export async function get(path, signal) {
  return (await request(path, { signal })).json();
}

/**
 * Yield `[name, data]` of each event of an answer; `last` are the names that end it, and `broken` is what to do where
 * it ends before.
 * Without a body it is a GET. Throws a Problem, or an AbortError when `signal` says so.
 */
export async function* stream(path, { body, signal, last = ["done"], broken = "The answer is not complete. Ask again." }) {
  const response = await request(path, { body, signal, accept: "text/event-stream" });
  let finished = false;
  try {
    for await (const [name, data] of messages(response.body)) {
      if (name === "error") throw new Problem(data);
      finished = last.includes(name);
      yield [name, data];
    }
  } catch (error) {
    if (signal?.aborted || error instanceof Problem) throw error;
  }
  if (!finished) throw new Problem({ title: "The connection ended early", detail: broken });
}

async function request(path, { body, signal, accept = "application/json" }) {
  const headers = { Accept: accept, ...keyHeaders() };
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem({ title: "The service cannot be reached", detail: "Is it running? Then ask again." });
  }
  if (response.status === 401) wantKey();
  if (!response.ok) throw await problemOf(response);
  return response;
}

async function problemOf(response) {
  try {
    return new Problem(await response.json());
  } catch {
    return new Problem({ title: "The service failed", detail: `It answered ${response.status}. Ask again in a moment.` });
  }
}

async function* messages(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (waiting + value).split("\n\n");
    waiting = parts.pop();
    for (const part of parts) {
      const lines = part.split("\n");
      const field = (name) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
      const data = field("data");
      if (data !== undefined) yield [field("event"), JSON.parse(data)];
    }
  }
}

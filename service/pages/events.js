// A question's server-sent events, read with fetch: EventSource cannot send a body.
// Knows the wire; nothing of the page.

/** An error as the service tells it: a title, and a detail with the way out. */
export class Problem extends Error {
  constructor({ title, detail }) {
    super(detail);
    this.title = title;
  }
}

/** Yield `[name, data]` of each event of the answer. Throws a Problem, or an AbortError when `signal` says so. */
export async function* ask(query, signal) {
  let response;
  try {
    response = await fetch("/v1/query", {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
      body: JSON.stringify({ query }),
      signal,
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Problem({ title: "The service cannot be reached", detail: "Is it running? Then ask again." });
  }
  if (!response.ok) throw await problemOf(response);
  let finished = false;
  try {
    for await (const [name, data] of messages(response.body)) {
      if (name === "error") throw new Problem(data);
      finished = name === "done";
      yield [name, data];
    }
  } catch (error) {
    if (signal.aborted || error instanceof Problem) throw error;
  }
  if (!finished) throw new Problem({ title: "The connection ended early", detail: "The answer is not complete. Ask again." });
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

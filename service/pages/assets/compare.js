// Two systems by name: both streams come in as they are, each at its own pace.

import { $, element, grow, say, seconds, sendOnEnter, tell } from "./dom.js";
import { Problem, stream } from "./events.js";
import { Outcome } from "./outcome.js";
import { cards } from "./system.js";

const question = $("question");
const sides = { a: new Outcome("a"), b: new Outcome("b") };

const NAMES = { a: "Left", b: "Right" };

let asking = null;

async function start() {
  const body = { question: question.value.trim(), a: $("a").value, b: $("b").value };
  if (!body.question) return question.focus();
  asking?.abort();
  const mine = (asking = new AbortController());
  clear();
  $("outcome").hidden = false;
  busy(true);
  say("Both systems answer.");
  const wholes = {};
  try {
    for await (const [name, data] of stream("/v1/arena/compare", { body, signal: mine.signal, last: ["end"] })) show[name]?.(data, wholes);
    // In the order of the sides, whichever was done first.
    const done = Object.keys(NAMES).filter((side) => wholes[side]);
    const times = done.map((side) => `${NAMES[side].toLowerCase()} in ${seconds(Object.values(wholes[side].timings).reduce((sum, one) => sum + one, 0))}`);
    say(`Done: ${times.join(", ")}.`);
  } catch (error) {
    if (!mine.signal.aborted) {
      if (!(error instanceof Problem)) console.error(error);
      tell(error);
    } else if (mine === asking) {
      say("Stopped.");
    }
  } finally {
    if (mine === asking) {
      asking = null;
      busy(false);
    }
  }
}

const show = {
  hits: ({ side, hits }) => sides[side].list(hits),
  reranked: ({ side, hits }) => sides[side].list(hits),
  sentence: ({ side, ...sentence }) => sides[side].sentence(sentence),
  failed: ({ side, problem }) => {
    sides[side].parts.answer.replaceChildren(element("span", "none", `${problem.title}: ${problem.detail}`));
  },
  done(data, wholes) {
    wholes[data.side] = data;
    sides[data.side].list(data.hits);
    sides[data.side].done(data.answer);
    if (wholes.a && wholes.b) $("who").replaceChildren(...cards(wholes, NAMES));
  },
};

function clear() {
  tell(null);
  for (const side of Object.values(sides)) side.clear();
  $("who").replaceChildren();
  $("outcome").hidden = true;
}

function busy(on) {
  $("stop").hidden = !on;
  $("outcome").ariaBusy = String(on);
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const there = new URL(location.href);
  there.search = new URLSearchParams({ q: question.value.trim(), a: $("a").value, b: $("b").value });
  if (there.search !== location.search) history.pushState(null, "", there);
  start();
});
$("stop").addEventListener("click", () => {
  asking?.abort();
  question.focus();
});
sendOnEnter(question);
addEventListener("popstate", () => read());

/** Ask what the address asks; else what was typed before this script was there stays. */
function read(typed = "") {
  const asked = new URLSearchParams(location.search);
  const query = asked.get("q");
  question.value = query ?? typed;
  for (const side of ["a", "b"]) if (asked.get(side)) $(side).value = asked.get(side);
  grow(question);
  if (query && $("a").value && $("b").value) return start();
  asking?.abort();
  clear();
  question.focus();
}

read(question.value);

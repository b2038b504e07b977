// The page to ask from: a question goes out, its answer and evidence come in stage by stage.

import { $, grow, say, seconds, sendOnEnter, tell } from "./dom.js";
import { Problem, stream } from "./events.js";
import { Outcome } from "./outcome.js";

const STAGES = ["retrieve", "rerank", "answer"];

const question = $("question");
const stages = Object.fromEntries(STAGES.map((name) => [name, $("stages").querySelector(`[data-stage=${name}]`)]));
const outcome = new Outcome("one", { near: true });

let asking = null; // the AbortController of the question in the air

// --- asking

async function start(query) {
  asking?.abort();
  const mine = (asking = new AbortController());
  const clock = startClock();
  clear();
  busy(true);
  document.title = `${query} · Ragnarok`;
  say("Searching.");
  clock.begin("retrieve");
  try {
    for await (const [name, data] of stream("/v1/query", { body: { query }, signal: mine.signal })) show[name]?.(data, clock);
  } catch (error) {
    if (mine.signal.aborted) {
      if (mine === asking) say("Stopped.");
    } else {
      if (!(error instanceof Problem)) console.error(error);
      tell(error);
    }
  } finally {
    clock.stop();
    if (mine === asking) {
      asking = null;
      busy(false);
    }
  }
}

const show = {
  hits({ hits }, clock) {
    clock.begin("rerank");
    say(`${hits.length} passages found. Re-ranking.`);
    $("outcome").hidden = false;
    outcome.list(hits);
  },
  reranked({ hits }, clock) {
    clock.begin("answer");
    say("Writing the answer.");
    outcome.list(hits);
  },
  sentence(sentence) {
    outcome.sentence(sentence);
  },
  done({ answer, timings }, clock) {
    clock.done(timings);
    outcome.done(answer);
    say(`Done in ${seconds(Object.values(timings).reduce((sum, one) => sum + one, 0))}.`);
  },
};

// --- state

function clear() {
  tell(null);
  $("outcome").hidden = true;
  outcome.clear();
}

function busy(on) {
  $("stop").hidden = !on;
  $("outcome").ariaBusy = String(on);
}

/** Shows how long each stage takes as it goes on, and at the end what the service measured. */
function startClock() {
  let running = null;
  let since = 0;
  for (const stage of Object.values(stages)) {
    stage.className = "";
    stage.querySelector("time").textContent = "";
  }
  $("stages").hidden = false;
  const tick = () => {
    if (running) stages[running].querySelector("time").textContent = seconds((performance.now() - since) / 1000);
  };
  const timer = setInterval(tick, 100);
  return {
    begin(name) {
      tick();
      if (running) stages[running].className = "past";
      stages[name].className = "running";
      [running, since] = [name, performance.now()];
    },
    done(timings) {
      for (const name of STAGES) {
        stages[name].className = "past";
        stages[name].querySelector("time").textContent = seconds(timings[name] ?? 0);
      }
      running = null;
    },
    stop() {
      clearInterval(timer);
      if (running) stages[running].className = "broken";
    },
  };
}

// --- the question box

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const query = question.value.trim();
  if (!query) return question.focus();
  const there = new URL(location.href);
  if (there.searchParams.get("q") !== query) {
    there.search = new URLSearchParams({ q: query });
    history.pushState(null, "", there);
  }
  start(query);
});

sendOnEnter(question);
$("stop").addEventListener("click", () => {
  asking?.abort();
  question.focus();
});
addEventListener("popstate", () => read());

/** Ask what the address asks, so that links can be shared; else what was typed before this script was there stays. */
function read(typed = "") {
  const query = new URLSearchParams(location.search).get("q")?.trim() ?? "";
  question.value = query || typed;
  grow(question);
  if (query) return start(query);
  asking?.abort();
  clear();
  $("stages").hidden = true;
  document.title = "Ask · Ragnarok";
  question.focus();
}

read(question.value);

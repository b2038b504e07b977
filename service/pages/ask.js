// The page: a question goes out, its answer and evidence come in stage by stage.

import { Problem, ask } from "./events.js";
import { element, passage, unfold } from "./evidence.js";

const SHOWN = 5; // uncited passages below this rank wait behind a button
const STAGES = ["retrieve", "rerank", "answer"];

const $ = (id) => document.getElementById(id);
const form = $("ask");
const question = $("question");
const passages = $("passages");
const stages = Object.fromEntries(STAGES.map((name) => [name, $("stages").querySelector(`[data-stage=${name}]`)]));
const calm = matchMedia("(prefers-reduced-motion: reduce)");

let asking = null; // the AbortController of the question in the air
let all = false; // whether every passage is shown

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
    for await (const [name, data] of ask(query, mine.signal)) show[name]?.(data, clock);
  } catch (error) {
    if (mine.signal.aborted) {
      if (mine === asking) say("Stopped.");
    } else {
      if (!(error instanceof Problem)) console.error(error);
      fail(error);
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
    list(hits);
  },
  reranked({ hits }, clock) {
    clock.begin("answer");
    say("Writing the answer.");
    $("legend").hidden = !hits.some((hit) => hit.highlights.length);
    list(hits);
  },
  sentence(sentence) {
    const said = element("span", "sentence", sentence.text);
    if (sentence.citations.length) said.append("\u00a0", ...sentence.citations.map(chip));
    $("answer").append(said, " ");
  },
  done({ answer, hits, timings }, clock) {
    clock.done(timings);
    replace(answer.sentences);
    refer(answer.references, hits);
    notes(answer.notes);
    say(`Done in ${seconds(Object.values(timings).reduce((sum, one) => sum + one, 0))}.`);
  },
};

// --- the answer

/** Put in only what the finished answer has otherwise than the stream had it, so that nothing is read out twice. */
function replace(sentences) {
  const said = [...$("answer").querySelectorAll(".sentence")];
  const same = said.length === sentences.length && sentences.every(
    ({ text, citations }, i) =>
      said[i].firstChild.data === text && [...said[i].querySelectorAll(".chip")].map((c) => +c.dataset.reference).join() === citations.join(),
  );
  if (same) return;
  $("answer").replaceChildren();
  sentences.forEach(show.sentence);
}

function chip(reference) {
  const button = element("button", "chip", String(reference + 1));
  button.type = "button";
  button.dataset.reference = reference;
  button.disabled = true; // until the references are known
  button.ariaLabel = `Citation ${reference + 1}`;
  return button;
}

/** Join each chip with its passage. */
function refer(references, hits) {
  const titles = new Map(hits.map((hit) => [hit.docid, hit.title || hit.docid]));
  for (const button of $("answer").querySelectorAll(".chip")) {
    const docid = references[button.dataset.reference];
    button.disabled = false;
    button.dataset.docid = docid;
    button.ariaLabel = `Citation ${button.textContent}: ${titles.get(docid)}`;
    button.title = titles.get(docid);
    const light = (on) => () => itemOf(docid)?.classList.toggle("lit", on);
    for (const [event, on] of [["mouseenter", true], ["focus", true], ["mouseleave", false], ["blur", false]])
      button.addEventListener(event, light(on));
    button.addEventListener("click", () => {
      const item = itemOf(docid);
      item.focus({ preventScroll: true });
      item.scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" });
    });
  }
  references.forEach((docid, i) => {
    const item = itemOf(docid);
    item?.classList.add("cited");
    const number = element("span", "number", String(i + 1));
    number.title = `Cited as ${i + 1}`;
    number.prepend(element("span", "unseen", "cited as "));
    item?.querySelector("h3").append(" ", number);
  });
  fold();
}

function notes(texts) {
  $("notes").replaceChildren(...texts.map((text) => element("li", "", text)));
  $("notes").hidden = !texts.length;
  if (!$("answer").childElementCount) $("answer").append(element("span", "none", "No answer was written."));
}

// --- the evidence

/** Show passages in their order; those already there glide to their new places. */
function list(hits) {
  const before = new Map([...passages.children].map((item) => [item.dataset.docid, item.getBoundingClientRect().top]));
  passages.replaceChildren(...hits.map(passage));
  $("count").textContent = String(hits.length);
  fold();
  for (const item of passages.children) unfold(item);
  if (calm.matches) return;
  for (const item of passages.children) {
    const shift = before.get(item.dataset.docid) - item.getBoundingClientRect().top;
    if (shift) item.animate([{ transform: `translateY(${shift}px)` }, { transform: "none" }], { duration: 450, easing: "cubic-bezier(.2,.7,.2,1)" });
  }
}

/** Hide what is neither cited nor among the best, unless all were asked for. */
function fold() {
  const items = [...passages.children];
  items.forEach((item, i) => (item.hidden = !all && i >= SHOWN && !item.classList.contains("cited")));
  const hidden = items.filter((item) => item.hidden).length;
  $("more").hidden = !hidden;
  $("more").textContent = `Show ${hidden} more`;
}

$("more").addEventListener("click", () => {
  all = true;
  const first = passages.querySelector("[hidden]");
  fold();
  for (const item of passages.children) unfold(item);
  first?.focus();
});

function itemOf(docid) {
  return [...passages.children].find((item) => item.dataset.docid === docid);
}

for (const [event, on] of [["mouseover", true], ["mouseout", false]])
  passages.addEventListener(event, ({ target }) => {
    const docid = target.closest(".passage")?.dataset.docid;
    for (const button of $("answer").querySelectorAll(".chip")) button.classList.toggle("lit", on && button.dataset.docid === docid);
  });

// --- state

function clear() {
  for (const id of ["problem", "outcome", "legend", "notes", "more"]) $(id).hidden = true;
  for (const id of ["answer", "passages", "notes"]) $(id).replaceChildren();
  $("count").textContent = "";
  all = false;
}

function fail({ title = "The page failed", message }) {
  const [heading, detail] = $("problem").children;
  heading.textContent = title;
  detail.textContent = message;
  $("problem").hidden = false;
  say("");
}

function busy(on) {
  $("stop").hidden = !on;
  document.body.classList.toggle("busy", on);
  $("outcome").ariaBusy = String(on);
}

function say(text) {
  $("status").textContent = text;
}

// --- time

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

function seconds(value) {
  return value < 0.995 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`;
}

// --- the question box

form.addEventListener("submit", (event) => {
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

question.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  form.requestSubmit();
});

question.addEventListener("input", grow);
$("stop").addEventListener("click", () => {
  asking?.abort();
  question.focus();
});
addEventListener("popstate", read);

function grow() {
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight}px`;
}

/** Ask what the address asks, so that links can be shared. */
function read() {
  const query = new URLSearchParams(location.search).get("q")?.trim() ?? "";
  question.value = query;
  grow();
  if (query) return start(query);
  asking?.abort();
  clear();
  $("stages").hidden = true;
  document.title = "Ask · Ragnarok";
  question.focus();
}

read();

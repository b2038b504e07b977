// A battle: it is begun, both sides come in, it is voted on, and only then is told who they were.

import { $, grow, say, sendOnEnter, tell } from "./dom.js";
import { Problem, get, post, stream } from "./events.js";
import { Outcome } from "./outcome.js";
import { cards } from "./system.js";

const SIDES = ["a", "b"];
const CHOICES = ["a", "b", "tie", "both_bad"];
const SAID = { a: "A is better", b: "B is better", tie: "both as good", both_bad: "both bad" };

const question = $("question");
const topics = $("topics");
const vote = $("vote");
const sides = { a: new Outcome("a"), b: new Outcome("b") };

let shown = null; // the AbortController of the battle that is looked at
let token = null; // what its vote needs, while there is one to cast

// --- beginning

async function begin() {
  if ($("send").disabled) return; // a key that is held, or pressed twice, begins one battle
  const set = topics?.value;
  const asked = question.value.trim();
  if (!set && !asked) return question.focus();
  const mine = renew();
  busy(true);
  say("The systems are chosen.");
  try {
    const battle = await post("/v1/arena/battles", set ? { topics: set } : { question: asked });
    if (mine.signal.aborted) return;
    history.pushState(null, "", battle.page);
    await follow(battle, mine.signal);
  } catch (error) {
    fail(error, mine.signal);
  } finally {
    busy(false);
  }
}

// --- looking at one

/** Show the battle of the address, at whatever point it is; its id is as it stands there, encoded. */
async function look(id) {
  const mine = renew();
  setForm(false);
  try {
    await showRecord(await get(`/v1/arena/battles/${id}`, mine.signal), mine.signal);
  } catch (error) {
    fail(error, mine.signal);
  }
}

async function showRecord(record, signal) {
  if (record.state === "running") return follow(record, signal);
  head(record);
  if (record.state === "over") return reveal(record);
  for (const side of SIDES) whole(record[side]);
  open(record);
}

async function follow(battle, signal) {
  head(battle);
  say("Both systems answer.");
  const path = `/v1/arena/battles/${encodeURIComponent(battle.id)}/events`;
  const broken = "The battle goes on without this page. Reload it to see the rest, and to vote.";
  for await (const [name, data] of stream(path, { signal, last: ["finished"], broken })) show[name]?.(data, battle);
}

const show = {
  evidence: ({ side, hits }) => sides[side].list(hits),
  sentence: ({ side, ...sentence }) => sides[side].sentence(sentence),
  answered: (side) => whole(side),
  finished: (_, battle) => open(battle),
};

function head({ question: asked }) {
  setForm(false);
  $("asked").textContent = asked;
  $("asked").hidden = false;
  $("battle").hidden = false;
  document.title = `${asked} · Ragnarok`;
}

function whole({ side, hits, answer }) {
  sides[side].list(hits);
  sides[side].done(answer);
}

// --- voting

function open(battle) {
  token = battle.token;
  vote.hidden = !token;
  vote.dataset.battle = battle.id;
  say(token ? "Both answers are complete. Which is better?" : "This battle waits for the vote of who began it.");
}

function chosen() {
  const data = new FormData(vote);
  return { answer: data.get("answer"), evidence: data.get("evidence"), tags: data.getAll("tags") };
}

async function cast() {
  const { answer, evidence, tags } = chosen();
  if (!token || $("cast").disabled || (!answer && !evidence)) return;
  $("cast").disabled = true; // a second click is no second vote
  tell(null);
  const id = vote.dataset.battle;
  const { signal } = shown;
  try {
    const record = await post(`/v1/arena/battles/${encodeURIComponent(id)}/vote`, { token, answer, evidence, tags });
    if (signal.aborted) return;
    reveal(record);
    $("told").focus();
  } catch (error) {
    fail(error, signal);
    $("cast").disabled = false;
  }
}

function reveal(record) {
  token = null;
  vote.hidden = true;
  for (const side of SIDES) whole(record[side]);
  const said = record.mine ?? record.votes[0];
  const words = said && [said.answer && `answer: ${SAID[said.answer]}`, said.evidence && `evidence: ${SAID[said.evidence]}`].filter(Boolean).join("; ");
  const who = record.mine ? "You voted" : said?.kind === "model" ? "A model voted" : "The vote";
  $("told-title").textContent = said ? `${who}. ${words[0].toUpperCase()}${words.slice(1)}.` : "Nobody voted.";
  $("who").replaceChildren(...cards(record, { a: "A", b: "B" }, said?.answer ?? said?.evidence));
  $("permanent").href = `/battle/${record.id}`;
  $("told").hidden = false;
  say(`${$("told-title").textContent} A was ${record.a.system.name}, B was ${record.b.system.name}.`);
}

function next() {
  history.pushState(null, "", "/battle");
  read();
  if (topics?.value) begin();
}

// --- state

function renew() {
  shown?.abort();
  shown = new AbortController();
  token = null;
  tell(null);
  for (const side of SIDES) sides[side].clear();
  for (const id of ["battle", "asked", "vote", "told"]) $(id).hidden = true;
  vote.reset();
  $("cast").disabled = true;
  return shown;
}

function fail(error, signal) {
  if (signal.aborted) return;
  if (!(error instanceof Problem)) console.error(error);
  tell(error);
  if (!token) vote.hidden = true;
  if ($("battle").hidden) setForm(true);
  else if (!token) showNext();
}

/** After a battle that came to nothing there is still a way on. */
function showNext() {
  setForm(true);
  question.value = "";
}

function setForm(on) {
  for (const id of ["ask", "intro"]) $(id).hidden = !on;
  if (on) choose();
}

function choose() {
  const set = Boolean(topics?.value);
  $("own").hidden = set;
  $("draw").hidden = !set;
  question.required = !set;
}

function busy(on) {
  $("send").disabled = $("draw").disabled = on;
  $("battle").ariaBusy = String(on);
}

/** Show what the address names; the question typed before this script was there stays. */
function read(typed = "") {
  const id = /^\/battle\/([^/]+)$/.exec(location.pathname)?.[1];
  if (id) return look(id);
  renew();
  setForm(true);
  document.title = "Battle · Ragnarok";
  question.value = typed || new URLSearchParams(location.search).get("q") || "";
  grow(question);
  (topics?.value ? $("draw") : question).focus();
}

// --- what is pressed

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  begin();
});
topics?.addEventListener("change", choose);
vote.addEventListener("submit", (event) => {
  event.preventDefault();
  cast();
});
vote.addEventListener("change", () => {
  const { answer, evidence } = chosen();
  $("cast").disabled = !answer && !evidence;
});
$("next").addEventListener("click", next);
$("stop").remove();
sendOnEnter(question);
addEventListener("popstate", () => read());

addEventListener("keydown", (event) => {
  const { target, key, code, shiftKey, ctrlKey, altKey, metaKey, repeat } = event;
  if (ctrlKey || altKey || metaKey || repeat || target.closest("textarea, select, input:not([type=radio], [type=checkbox]), dialog")) return;
  const place = /^(?:Digit|Numpad)([1-4])$/.exec(code)?.[1];
  if (place && !vote.hidden) {
    event.preventDefault();
    const input = vote.querySelector(`[name=${shiftKey ? "evidence" : "answer"}][value=${CHOICES[place - 1]}]`);
    input.checked = true;
    vote.dispatchEvent(new Event("change"));
    say(`${shiftKey ? "Evidence" : "Answer"}: ${SAID[input.value]}.`);
  } else if (key === "Enter" && !vote.hidden && !target.closest("button, a, summary")) {
    event.preventDefault();
    cast();
  } else if (key.toLowerCase() === "n" && !shiftKey && !$("told").hidden) {
    event.preventDefault();
    next();
  }
});

read(question.value);

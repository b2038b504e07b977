// An answer beside its evidence: sentences and passages come in, and citations are joined with what they cite.

import { element } from "./dom.js";
import { nameOf, passage, unfold } from "./evidence.js";
import { open } from "./opened.js";

const SHOWN = 5; // uncited passages below this rank wait behind a button

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const beside = matchMedia("(min-width: 64rem)");

/** Fills in the parts of one side's answer and evidence. */
export class Outcome {
  #all = false; // whether every passage is shown
  #hits = new Map();

  /** With `near`, a list that stands beside its answer is gone to; any other passage is opened before the page. */
  constructor(side, { near = false } = {}) {
    this.near = near;
    const parts = document.querySelectorAll(`[data-side=${side}] [data-part]`);
    this.parts = Object.fromEntries([...parts].map((part) => [part.dataset.part, part]));
    this.parts.more.addEventListener("click", () => this.#showAll());
    for (const [event, on] of [["mouseover", true], ["mouseout", false]])
      this.parts.passages.addEventListener(event, ({ target }) => this.#lightChips(target.closest(".passage")?.dataset.docid, on));
  }

  clear() {
    const { answer, notes, count, legend, passages, more } = this.parts;
    for (const part of [notes, legend, more]) part.hidden = true;
    for (const part of [answer, passages, notes, count]) part.replaceChildren();
    this.#all = false;
  }

  /** Show passages in their order; those already there glide to their new places. */
  list(hits) {
    const { passages, count, legend } = this.parts;
    const before = new Map([...passages.children].map((item) => [item.dataset.docid, item.getBoundingClientRect().top]));
    this.#hits = new Map(hits.map((hit) => [hit.docid, hit]));
    passages.replaceChildren(...hits.map(passage));
    count.textContent = String(hits.length);
    legend.hidden = !hits.some((hit) => hit.highlights?.length);
    this.#fold();
    for (const item of passages.children) unfold(item);
    if (calm.matches) return;
    for (const item of passages.children) {
      const shift = before.get(item.dataset.docid) - item.getBoundingClientRect().top;
      if (shift) item.animate([{ transform: `translateY(${shift}px)` }, { transform: "none" }], { duration: 450, easing: "cubic-bezier(.2,.7,.2,1)" });
    }
  }

  sentence({ text, citations }) {
    const said = element("span", "sentence", text);
    if (citations.length) said.append("\u00a0", ...citations.map(chip));
    this.parts.answer.append(said, " ");
  }

  /** The whole answer is there: its sentences, what they refer to, and notes. */
  done({ sentences, references, notes = [] }) {
    this.#replace(sentences);
    this.#refer(references);
    this.parts.notes.replaceChildren(...notes.map((text) => element("li", "", text)));
    this.parts.notes.hidden = !notes.length;
    if (!this.parts.answer.childElementCount) this.parts.answer.append(element("span", "none", "No answer was written."));
  }

  /** Put in only what the finished answer has otherwise than the stream had it, so that nothing is read out twice. */
  #replace(sentences) {
    const said = [...this.parts.answer.querySelectorAll(".sentence")];
    const same = said.length === sentences.length && sentences.every(
      ({ text, citations }, i) =>
        said[i].firstChild.data === text && [...said[i].querySelectorAll(".chip")].map((c) => +c.dataset.reference).join() === citations.join(),
    );
    if (same) return;
    this.parts.answer.replaceChildren();
    for (const sentence of sentences) this.sentence(sentence);
  }

  /** Join each chip with its passage. */
  #refer(references) {
    for (const button of this.parts.answer.querySelectorAll(".chip")) this.#join(button, references[button.dataset.reference]);
    references.forEach((docid, i) => {
      const item = this.#item(docid);
      if (!item) return;
      item.classList.add("cited");
      const number = element("span", "number", element("span", "unseen", "cited as "), String(i + 1));
      number.title = `Cited as ${i + 1}`;
      item.querySelector("h3").append(" ", number);
    });
    this.#fold();
  }

  #join(button, docid) {
    const hit = this.#hits.get(docid);
    const name = hit ? nameOf(hit) : docid;
    button.disabled = !hit;
    button.dataset.docid = docid;
    button.ariaLabel = `Citation ${button.textContent}: ${name}`;
    button.title = name;
    const light = (on) => () => this.#item(docid)?.classList.toggle("lit", on);
    for (const [event, on] of [["mouseenter", true], ["focus", true], ["mouseleave", false], ["blur", false]])
      button.addEventListener(event, light(on));
    button.addEventListener("click", () => {
      if (this.near && beside.matches) this.#go(docid);
      else open(hit, button.textContent);
    });
  }

  #go(docid) {
    const item = this.#item(docid);
    item.focus({ preventScroll: true });
    item.scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" });
  }

  /** Hide what is neither cited nor among the best, unless all were asked for. */
  #fold() {
    const items = [...this.parts.passages.children];
    items.forEach((item, i) => (item.hidden = !this.#all && i >= SHOWN && !item.classList.contains("cited")));
    const hidden = items.filter((item) => item.hidden).length;
    this.parts.more.hidden = !hidden;
    this.parts.more.textContent = `Show ${hidden} more`;
  }

  #showAll() {
    this.#all = true;
    const first = this.parts.passages.querySelector("[hidden]");
    this.#fold();
    for (const item of this.parts.passages.children) unfold(item);
    first?.focus();
  }

  #item(docid) {
    return [...this.parts.passages.children].find((item) => item.dataset.docid === docid);
  }

  #lightChips(docid, on) {
    for (const button of this.parts.answer.querySelectorAll(".chip")) button.classList.toggle("lit", on && button.dataset.docid === docid);
  }
}

function chip(reference) {
  const button = element("button", "chip", String(reference + 1));
  button.type = "button";
  button.dataset.reference = reference;
  button.disabled = true; // until the references are known
  button.ariaLabel = `Citation ${reference + 1}`;
  return button;
}

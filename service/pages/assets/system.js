// Who a system is: a card with its name, what it is made of, and its times.

import { element, fact, seconds } from "./dom.js";

const STAGES = ["retrieve", "rerank", "answer"];

/** The cards of two systems, under the names of their sides; what only one of them has is set off. */
export function cards(sides, names, winner) {
  return ["a", "b"].map((side) => {
    const made = card(names[side], sides[side], sides[side === "a" ? "b" : "a"]);
    if (winner === side) made.classList.add("won");
    return made;
  });
}

function card(name, { system, timings }, other) {
  const list = element("dl", "made");
  for (const [kind, value] of Object.entries(system.components).sort()) {
    fact(list, kind.replaceAll("_", " "), value);
    if (other.system.components[kind] !== value) list.lastElementChild.lastElementChild.className = "other";
  }
  for (const stage of STAGES) if (stage in timings) fact(list, `time to ${stage}`, seconds(timings[stage]));
  return element("section", "card", element("h3", "", `${name}: ${system.name}`), list);
}

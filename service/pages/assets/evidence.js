// Passages as elements. Whatever a passage says is put in as text, never as markup.

import { element, fact, link } from "./dom.js";

const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

/** What a passage is called: one without a title by its id, or by its place where even that is withheld. */
export function nameOf(hit) {
  return hit.title || (hit.score === undefined ? `Passage ${hit.rank}` : hit.docid);
}

/** A passage of any list of hits, as a list item. */
export function passage(hit) {
  const name = nameOf(hit);
  const title = element("h3", "", link(hit.url, name));
  title.dir = "auto";
  const head = element("header", "", element("span", "rank", String(hit.rank)), title);
  const text = element("p", "text", ...marked(hit.text, hit.highlights ?? []));
  text.dir = "auto";
  const item = element("li", "passage", head, text);
  if (hit.first_rank !== undefined) head.append(move(hit.first_rank, hit.rank));
  if (hit.score !== undefined) item.append(facts(hit));
  item.tabIndex = -1;
  item.dataset.docid = hit.docid;
  item.setAttribute("aria-label", `${name}, rank ${hit.rank}`);
  return item;
}

/** A button that shows the rest of a long text; call it once the item stands in the page. */
export function unfold(item) {
  const text = item.querySelector(".text");
  if (item.querySelector(".unfold") || text.scrollHeight <= text.clientHeight + 2) return;
  const button = element("button", "unfold quiet", "Show all of it");
  button.type = "button";
  button.setAttribute("aria-expanded", "false");
  button.addEventListener("click", () => {
    const open = item.classList.toggle("open");
    button.setAttribute("aria-expanded", String(open));
    button.textContent = open ? "Show less" : "Show all of it";
  });
  text.after(button);
}

function facts(hit) {
  const list = element("dl", "facts");
  if (hit.first_rank === undefined) {
    fact(list, "first stage", plain.format(hit.score));
  } else {
    fact(list, "score", plain.format(hit.score));
    fact(list, "first stage", plain.format(hit.first_score));
  }
  if (hit.title) fact(list, "id", hit.docid);
  if (hit.cut) fact(list, "read", "its beginning only");
  return list;
}

function move(before, after) {
  const [kind, sign, said] =
    after < before ? ["up", "▲", "moved up"] : after > before ? ["down", "▼", "moved down"] : ["same", "=", "stayed"];
  const seen = element("span", "", `${before} → ${after} `, element("b", "", sign));
  seen.ariaHidden = "true";
  const heard = element("span", "unseen", kind === "same" ? `${said} at rank ${after}` : `${said} from rank ${before} to ${after}`);
  return element("span", `move ${kind}`, seen, heard);
}

/** Text with its highlights. The service counts code points; a JavaScript string counts UTF-16 units. */
function marked(text, highlights) {
  const points = Array.from(text);
  const pieces = [];
  let at = 0;
  for (const { start, end, weight } of highlights) {
    if (start < at || end <= start) continue;
    pieces.push(points.slice(at, start).join(""));
    const mark = element("mark", "", points.slice(start, end).join(""));
    mark.style.setProperty("--weight", String(weight));
    mark.title = `attention ${weight.toFixed(2)} of the strongest word's`;
    pieces.push(mark);
    at = end;
  }
  pieces.push(points.slice(at).join(""));
  return pieces;
}

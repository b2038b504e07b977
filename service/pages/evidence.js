// Passages as elements. Whatever a passage says is put in as text, never as markup.

/** An element with a class and children: strings become text. */
export function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

const plain = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

/** A passage of `hits` or `reranked`, as a list item. */
export function passage(hit) {
  const name = hit.title || hit.docid;
  const title = element("h3", "", link(hit.url, name));
  title.dir = "auto";
  const head = element("header", "", element("span", "rank", String(hit.rank)), title);
  const text = element("p", "text", ...marked(hit.text, hit.highlights ?? []));
  text.dir = "auto";
  const facts = element("dl", "facts");
  if (hit.first_rank === undefined) {
    fact(facts, "first stage", plain.format(hit.score));
  } else {
    head.append(move(hit.first_rank, hit.rank));
    fact(facts, "score", plain.format(hit.score));
    fact(facts, "first stage", plain.format(hit.first_score));
  }
  if (hit.title) fact(facts, "id", hit.docid);
  if (hit.cut) fact(facts, "read", "its beginning only");
  const item = element("li", "passage", head, text, facts);
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

function link(url, name) {
  if (!/^https?:\/\//i.test(url)) return name;
  const made = element("a", "", name);
  made.href = url;
  made.rel = "noopener noreferrer";
  return made;
}

function fact(list, name, value) {
  list.append(element("div", "", element("dt", "", name), element("dd", "", value)));
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

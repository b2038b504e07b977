// One passage before everything else: what a citation opens where its list is too far away to be looked at.

import { element } from "./dom.js";
import { passage } from "./evidence.js";

let dialog = null;

/** Show a passage, cited by that number, until Escape, the button or a click beside it closes it. */
export function open(hit, number) {
  dialog ??= make();
  const shown = passage(hit);
  const body = element("div", `${shown.className} open`, ...shown.childNodes);
  dialog.querySelector("h2").textContent = `Citation ${number}`;
  dialog.querySelector(".body").replaceChildren(body);
  dialog.showModal();
  dialog.querySelector(".body").scrollTop = 0;
}

function make() {
  const heading = element("h2", "small");
  heading.id = "opened-title";
  const button = element("button", "quiet", "Close");
  button.type = "button";
  const body = element("div", "body");
  body.tabIndex = 0;
  body.role = "region";
  body.setAttribute("aria-labelledby", "opened-title");
  const made = element("dialog", "opened", element("header", "", heading, button), body);
  made.setAttribute("aria-labelledby", "opened-title");
  button.addEventListener("click", () => made.close());
  made.addEventListener("click", ({ target }) => target === made && made.close());
  document.body.append(made);
  return made;
}

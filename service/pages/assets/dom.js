// Elements from data. Whatever data says is put in as text, never as markup.

/** The element of this id. */
export const $ = (id) => document.getElementById(id);

/** An element with a class and children: strings become text. */
export function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** A name that links to `url` where that is an address of the web. */
export function link(url, name) {
  if (!/^https?:\/\//i.test(url)) return name;
  const made = element("a", "", name);
  made.href = url;
  made.rel = "noopener noreferrer";
  return made;
}

/** A pair in a list of facts. */
export function fact(list, name, value) {
  list.append(element("div", "", element("dt", "", name), element("dd", "", value)));
}

/** A time for people. */
export function seconds(value) {
  return value < 0.995 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(1)} s`;
}

/** Let a text field be as high as its text. */
export function grow(field) {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

/** Let Enter send the form of a text field, and Shift Enter begin a new line. */
export function sendOnEnter(field) {
  field.addEventListener("input", () => grow(field));
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    field.form.requestSubmit();
  });
}

/** Say to those who hear the page what goes on. */
export function say(text) {
  $("status").textContent = text;
}

/** Show a problem, or hide the last one. */
export function tell(problem) {
  $("problem").hidden = !problem;
  if (!problem) return;
  const [heading, detail] = $("problem").children;
  heading.textContent = problem.title ?? "The page failed";
  detail.textContent = problem.message;
  say("");
}

// The API key of a service that wants one: asked for once it was missed, kept for this tab, sent along.

import { element } from "./dom.js";

const KEPT = "ragnarok-api-key";

/** The headers that show the key. */
export function keyHeaders() {
  const key = sessionStorage.getItem(KEPT);
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** Show a field for the key, if it is not there yet. */
export function wantKey() {
  if (document.getElementById("key")) return;
  const label = element("label", "", "API key");
  label.htmlFor = "key";
  const field = element("input", "field");
  field.id = "key";
  field.type = "password";
  field.autocomplete = "off";
  field.value = sessionStorage.getItem(KEPT) ?? "";
  field.addEventListener("input", () => sessionStorage.setItem(KEPT, field.value.trim()));
  document.querySelector("main").prepend(element("div", "key", label, field));
}

// The page that asks for a key, and leads back to where somebody wanted to go.

import { signIn } from "../lib/api.js";
import { byId } from "../lib/dom.js";
import { explain } from "../lib/sign_in_words.js";

const form = byId("sign-in");
const key = byId("api-key");
const error = byId("sign-in-error");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  error.textContent = "";
  key.removeAttribute("aria-invalid");
  button.disabled = true;
  try {
    await signIn(key.value.trim());
    // The server has checked that it is a path of its own. What follows # it never saw.
    location.assign(document.querySelector("main").dataset.next + location.hash);
  } catch (problem) {
    error.textContent = explain(problem);
    key.setAttribute("aria-invalid", "true");
    button.disabled = false;
    key.select();
  }
});

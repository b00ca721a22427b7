import { signIn } from "./api.js";
import { byId } from "./dom.js";

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
    location.reload();
  } catch (problem) {
    error.textContent = explain(problem);
    key.setAttribute("aria-invalid", "true");
    button.disabled = false;
    key.select();
  }
});

function explain(problem) {
  if (problem.status === 401) return "This key is not valid. Check that you copied all of it and that it was not revoked.";
  if (problem.code === "network") return "The server cannot be reached. Check your connection and try again.";
  if (problem.temporary) return "The server is not available at the moment. Try again in a few seconds.";
  return `Signing in did not work: ${problem.message}.`;
}

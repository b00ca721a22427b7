// Signing in without leaving the page: what was chosen and typed stays, and the calls that waited go on.

import { renewToken, signIn } from "./api.js";
import { h } from "./dom.js";
import { t } from "./texts.js";
import { explain } from "./sign_in_words.js";

let asking = null;

/** Asks for a key, once for all calls that wait. Resolves to whether somebody signed in. */
export function signInHere() {
  asking ??= ask().finally(() => (asking = null));
  return asking;
}

function ask() {
  document.dispatchEvent(new CustomEvent("signed-out"));
  return new Promise((resolve) => {
    const key = h("input", {
      id: "sign-in-here-key", type: "password", required: true, autofocus: true, autocomplete: "current-password",
      autocapitalize: "none", spellcheck: "false", "aria-describedby": "sign-in-here-error",
    });
    const error = h("p", { id: "sign-in-here-error", class: "error-text", role: "alert" });
    const submit = h("button", { class: "primary", type: "submit" }, t("sign_in.submit"));
    const closed = new AbortController();
    let done = false;
    const form = h("form", { class: "dialog-body" },
      h("p", {}, t("sign_in.here_lead")),
      h("div", { class: "field" }, h("label", { for: "sign-in-here-key" }, t("sign_in.key")), key, error),
      h("div", { class: "dialog-actions" },
        h("button", { type: "button", onclick: () => dialog.close() }, t("sign_in.not_now")), submit));
    const dialog = h("dialog", { id: "sign-in-here", class: "dialog", "aria-labelledby": "sign-in-here-title" },
      h("header", { class: "dialog-head" }, h("h2", { id: "sign-in-here-title" }, t("sign_in.here_title"))), form);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      submit.disabled = true;
      error.textContent = "";
      try {
        await signIn(key.value.trim());
      } catch (problem) {
        error.textContent = explain(problem);
        key.setAttribute("aria-invalid", "true");
        submit.disabled = false;
        key.select();
      }
    });
    // Here, or in another tab meanwhile.
    document.addEventListener("signed-in", () => {
      done = true;
      dialog.close();
    }, { signal: closed.signal });
    document.addEventListener("visibilitychange", () => document.hidden || renewToken(), { signal: closed.signal });
    addEventListener("focus", renewToken, { signal: closed.signal });
    dialog.addEventListener("close", () => {
      closed.abort();
      dialog.remove();
      resolve(done);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

import { t } from "./texts.js";

/** Why somebody could not sign in. */
export function explain(problem) {
  if (problem.status === 401) return t("sign_in.wrong_key");
  if (problem.code === "network") return t("sign_in.no_connection");
  if (problem.temporary) return t("sign_in.not_available");
  return t("sign_in.failed", { message: problem.message });
}

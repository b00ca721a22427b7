// Who is signed in to the pages, and the end of a session of somebody else. One's own ends by signing out.

import { del } from "../lib/api.js";
import { byId, h, icon, named } from "../lib/dom.js";
import { fail, tell } from "../lib/messages.js";
import { pagedList } from "../lib/paging.js";
import { empty } from "../lib/states.js";
import { t, tx } from "../lib/texts.js";
import { time } from "../lib/time.js";

// What a browser calls itself holds the names of those that it is like: the first that fits is meant.
const BROWSERS = { Edg: "Edge", OPR: "Opera", Firefox: "Firefox", Chrome: "Chrome", Safari: "Safari" };
const SYSTEMS = { Android: "Android", iPhone: "iOS", iPad: "iPadOS", Windows: "Windows", "Mac OS X": "macOS", CrOS: "ChromeOS", Linux: "Linux" };

const nameIn = (agent, names) => Object.entries(names).find(([part]) => agent.includes(part))?.[1];

/** A browser in two words, as far as it says what it is. */
function browserOf(agent) {
  if (!agent) return h("span", { class: "muted" }, t("keys.sessions.unknown"));
  const browser = nameIn(agent, BROWSERS);
  const system = nameIn(agent, SYSTEMS);
  return h("span", { title: agent }, browser && system ? t("keys.sessions.on", { browser, system }) : agent);
}

/** The list in a <tbody>; as pagedList gives it. */
export function listSessions(place) {
  const cell = (label, node) => h("td", { "data-label": t(`keys.sessions.columns.${label}`) }, node);

  const draw = (session) =>
    h("tr", { "data-id": session.id },
      h("td", { class: "name" }, named(session.key_name), " ", session.current ? h("span", { class: "chip", "data-kind": "good" }, t("keys.sessions.current")) : null),
      cell("browser", browserOf(session.user_agent)),
      cell("address", session.address ?? t("keys.sessions.unknown")),
      cell("since", time(session.created_at)),
      cell("used", time(session.last_used_at)),
      session.current ? h("td", { class: "none" }) : h("td", {}, h("div", { class: "acts" }, button(session))));

  const button = (session) =>
    h("button", { type: "button", class: "quiet", title: t("keys.sessions.end"), "aria-label": `${t("keys.sessions.end")}: ${session.key_name}`, onclick: () => end(session) },
      icon("delete"), h("span", { class: "label" }, t("keys.sessions.end")));

  async function end(session) {
    try {
      await del(`/sessions/${session.id}`);
    } catch (error) {
      // Somebody else was quicker, or its time was over.
      if (error.code !== "session_not_found") return void fail(error);
    }
    tell(tx("keys.sessions.ended", { name: named(session.key_name) }), { kind: "good" });
    byId("keys-make").focus();
    await list.reload();
  }

  const list = pagedList({
    place, path: "/sessions", kind: "row", draw,
    items: (answer) => answer.sessions,
    empty: () => empty({ icon: "keys", title: t("keys.sessions.none") }),
  });
  return list;
}

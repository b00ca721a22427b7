// Unknown faces in groups: those that wait for a name, one at a time, or those that are hidden.

import { byId } from "../lib/dom.js";
import { startHidden } from "./unknown/hidden.js";
import { startWaiting } from "./unknown/waiting.js";

const hidden = new URLSearchParams(location.search).get("show") === "hidden";
byId(hidden ? "unknown-hidden" : "unknown-waiting").setAttribute("aria-current", "page");
byId("unknown").hidden = hidden;
byId("unknown-hidden-list").hidden = !hidden;
if (hidden) startHidden();
else startWaiting();

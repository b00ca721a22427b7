// People, or one of them.

import { byId } from "../lib/dom.js";
import { startList } from "./people/list.js";
import { startPerson } from "./people/person.js";

const { id } = byId("main").dataset;
if (id) startPerson(id);
else startList();

// The one tab that sends. The tab that holds the lock does; when it goes to another page or is closed, the next one goes
// on, with the files that are kept or that it has itself.

import { List, newId } from "./list.js";
import { next, Requests } from "./requests.js";

const AT_ONCE = 3;
const LONGEST_WAIT = 60;
const SETTLE = 200;
const LOCK = "face-uploads";
// Nothing goes on by itself.
const NEEDS_A_KEY = new Set(["signed_out", "not_allowed"]);

/** Events: those of the list, and "condition". */
export class Queue extends List {
  // What keeps everything from being sent: {kind: "offline" | "busy" | "disk_full" | "signed_out" | "not_allowed", until}
  condition = null;
  leads = false;
  #requests;
  #backoff = 1;
  #timer = null;

  /** `who`: the name of the key; `beforeSending()`: awaited before the first of some photos is sent. */
  constructor({ who, canRead, beforeSending }) {
    super(who);
    this.#requests = new Requests(this, { canRead, beforeSending });
  }

  async start() {
    this.listen((message) => this.#hear(message));
    await this.load();
    this.tell({ hello: true });
    if (!navigator.locks) return this.#lead();
    return navigator.locks.request(LOCK, () => {
      this.#lead();
      // For as long as this document lives.
      return new Promise(() => {});
    });
  }

  async #lead() {
    this.leads = true;
    await this.flush();
    await this.load();
    this.count();
    // What the tab before was about to send goes out under the same keys.
    this.set([...this.items.values()].filter((item) => item.state === "sending"), { state: "waiting", progress: 0 });
    this.tell({ give: true });
    setTimeout(() => this.pump(), SETTLE);
  }

  #hear(message) {
    const { records, files, go, condition, cancel, hello } = message;
    if (go) this.go({ who: go, tell: false });
    if (hello && this.leads && this.condition) this.tell({ condition: this.condition });
    this.take(message);
    if (condition !== undefined && !this.leads) this.#setCondition(condition, { tell: false });
    if (cancel && this.leads) this.cancel(cancel);
    if (this.leads && (records || files)) this.pump();
  }

  /** Takes files in, see the list, and sends them. */
  add(given, how) {
    super.add(given, how);
    this.pump();
  }

  /** Whether requests are on their way. */
  get sends() {
    return this.#requests.number > 0;
  }

  /** Gives items up; one that is on its way may arrive all the same. */
  cancel(ids) {
    if (!this.leads) this.tell({ cancel: ids });
    this.#requests.giveUp(ids);
    const requests = new Set(ids.map((id) => this.items.get(id)?.request).filter(Boolean));
    this.remove(ids);
    // A request without one of its files is another request.
    this.anew([...this.items.values()].filter((item) => requests.has(item.request) && item.state === "waiting"));
  }

  /** Sends items again that were given up, with another collection or person where `values` has one. */
  again(items, values = {}) {
    const drop = newId();
    this.set(items, { state: "waiting", progress: 0, reason: null, request: null, attempts: 0, ...("collection" in values ? { drop, batch: null } : {}), ...values });
    this.flush();
    this.pump();
  }

  /** Somebody signed in, the connection is back, or a person wants it now. */
  go({ who = this.who, tell = true } = {}) {
    this.belongTo(who);
    if (tell) this.tell({ go: who });
    this.#setCondition(null, { tell: false });
    this.pump();
  }

  /** Takes over what another key left in this browser, or lets it go. */
  claim(yes) {
    const items = super.claim(yes);
    this.again(items.filter((item) => item.state === "sending"));
    this.pump();
  }

  /** Nothing can be asked or sent until somebody signs in. */
  signedOut() {
    if (this.condition?.kind !== "signed_out") this.#setCondition({ kind: "signed_out", until: null });
  }

  #setCondition(condition, { tell = true } = {}) {
    clearTimeout(this.#timer);
    this.condition = condition;
    if (tell) this.tell({ condition });
    if (this.leads && condition?.until) this.#timer = setTimeout(() => this.pump(), Math.max(0, condition.until - Date.now()) + 50);
    this.emit("condition");
  }

  pump() {
    if (!this.leads) return;
    const blocked = this.condition && (!this.condition.until || this.condition.until > Date.now());
    // One tries whether it goes again.
    const most = this.condition ? 1 : AT_ONCE;
    while (!blocked && this.#requests.number < most) {
      const items = next([...this.items.values()].filter((item) => item.state === "waiting"));
      if (!items.length) return;
      this.#requests.send(items).finally(() => this.pump());
    }
  }

  /** A request was answered. */
  well() {
    this.#backoff = 1;
    if (this.condition) this.#setCondition(null);
  }

  /** Sends nothing for `seconds`; null: longer each time. */
  wait(kind, seconds) {
    // Requests that were on their way together fail together.
    if (this.condition?.kind === kind && (this.condition.until ?? Infinity) > Date.now()) return;
    if (seconds === null) this.#backoff = Math.min(LONGEST_WAIT, this.#backoff * 2);
    const until = NEEDS_A_KEY.has(kind) ? null : Date.now() + Math.max(1, seconds ?? this.#backoff) * 1000;
    this.#setCondition({ kind, until });
  }
}

// Each account: who it is, its token, its store, and how far its transfers are.

import {inQuarantine, readAccounts} from "./accounts.js";
import {
  STATES, button, element, facts, newId, renew, renewList, said, setText, statesBar, tell, time,
} from "./elements.js";
import {plot} from "./plot.js";
import {ask} from "./server.js";
import {duration, number, size, word} from "./words.js";

const HISTORY_EVERY = 60000; // it has a step every ten minutes
const CHECK_EVERY = 700;
const RESULTS = new Set(["passed", "warning", "failed", "skipped", "unknown"]);

// A while later, and not before somebody sees the page.
async function nextTime() {
  do {
    await new Promise((resolve) => {
      setTimeout(resolve, CHECK_EVERY);
    });
  } while (document.hidden);
}

class Account {
  constructor(name) {
    this.name = name;
    this.expires = null;
    this.isPaused = false;
    const heading = newId();
    this.badges = element("span", {class: "badges"});
    this.token = element("div");
    this.countdown = element("span", {class: "countdown"});
    this.problems = element("div");
    this.states = element("div");
    this.why = element("a", {href: `#/quarantine/${encodeURIComponent(name)}`});
    this.quarantined = element("p", {}, this.why); // stays, so that the focus can be there
    this.figures = element("div");
    this.history = element("div");
    this.historyAt = -Infinity;
    this.findings = element("div");
    this.pausing = button("", () => this.pauseOrResume());
    this.sending = element("div", {class: "buttons"}, this.pausing, this.linkToStudies());
    this.element = element("article", {"aria-labelledby": heading},
      element("h3", {id: heading}, element("span", {class: "outside"}, name), " ", this.badges),
      this.problems, this.token,
      element("div", {class: "buttons"},
        button(word("check"), () => this.check()),
        button(word("refresh"), () => this.refresh())),
      this.findings, this.states, this.quarantined, this.figures, this.history,
      this.sending);
  }

  update({account, transfers}) {
    this.showToken(account);
    this.showTransfers(transfers);
    const failure = account?.State === "failing" ? account.LastError : null;
    const rotation = account?.RotationError ?? null;
    const found = problemsOf(transfers);
    renew(this.problems, [failure, rotation, found], () => [
      failure ? lastError(failure) : null,
      rotation ? said(rotation, "bad") : null,
      ...found.map(problem),
    ]);
    const state = account?.State ?? "unknown";
    renew(this.badges, [state, Boolean(transfers?.Paused)], () => [
      element("span", {class: `badge ${state}`}, word(`token ${state}`)),
      transfers?.Paused ? element("span", {class: "badge paused"}, word("paused")) : null,
    ]);
  }

  showToken(account) {
    const left = account?.SecondsToExpiry;
    this.expires = typeof left === "number" ? performance.now() + 1000 * left : null;
    this.tick();
    const shown = account && {...account, SecondsToExpiry: null};
    renew(this.token, shown, () => (shown ? [facts([
      [word("identity"), account.Identity, "outside"],
      [word("kind"), account.Kind],
      [word("token"), this.countdown],
      [word("next try"), account.State === "failing" ? time(account.NextTry) : null],
      [word("store"), account.Store, "outside"],
      [word("published since"), time(account.PublishedSince) || word("not published"),
        account.PublishedSince ? "" : "bad"],
      [word("key age"), account.KeyAgeDays === null ? null
        : `${number(account.KeyAgeDays)} ${word("days")}`],
    ])] : [element("p", {class: "bad"}, word("not configured"))]));
  }

  tick() {
    const left = this.expires === null ? null : (this.expires - performance.now()) / 1000;
    const text = left > 0 ? word("still good for", {time: duration(left)}) : word("no token");
    setText(this.countdown, text);
    this.countdown.classList.toggle("bad", !(left > 0));
  }

  showTransfers(transfers) {
    for (const part of [this.states, this.figures, this.history, this.sending]) {
      part.hidden = !transfers;
    }
    const quarantined = inQuarantine({transfers});
    this.quarantined.hidden = !quarantined;
    setText(this.why, word("why in quarantine", {count: quarantined}));
    if (!transfers) {
      return;
    }
    this.showHistory();
    this.isPaused = transfers.Paused;
    setText(this.pausing, word(this.isPaused ? "resume" : "pause"));
    const counts = STATES.map((state) => transfers[state]);
    renew(this.states, [counts, transfers.LostChanges], () => [
      statesBar(transfers), losses(this.name, transfers),
    ]);
    renew(this.figures, {...transfers, Problem: null, Problems: null}, () => [figures(transfers)]);
  }

  async showHistory() {
    if (performance.now() - this.historyAt < HISTORY_EVERY) {
      return;
    }
    this.historyAt = performance.now();
    try {
      const answer = await ask(["accounts", this.name, "history"]);
      renew(this.history, answer, () => [plot(answer)]);
    } catch {
      // The figures stand there without it; it is asked for again.
    }
  }

  linkToStudies() {
    const href = `#/studies/${encodeURIComponent(this.name)}`;
    return element("a", {href, class: "button"}, word("studies"));
  }

  // Each line is shown when it comes: some wait for Google.
  async check() {
    const path = ["accounts", this.name, "check"];
    const lines = element("ul", {class: "findings", lang: "en"});
    const progress = element("p", {class: "faint"}, word("checking"));
    this.findings.replaceChildren(element("h4", {}, word("found by check")), lines, progress);
    const show = (found) => lines.append(...found.slice(lines.children.length).map(finding));
    try {
      let answer = await ask(path, {body: {Asynchronous: true}});
      show(answer.Checks);
      while (answer.Running) {
        await nextTime();
        answer = await ask(path);
        show(answer.Checks);
      }
      progress.replaceWith(button(word("close"), () => this.findings.replaceChildren()));
      const passed = answer.Passed;
      tell(word(passed ? "check passed" : "check failed", {account: this.name}), !passed);
    } catch (error) {
      progress.remove();
      throw error;
    }
  }

  async refresh() {
    await ask(["accounts", this.name, "refresh"], {body: {}});
    tell(word("refreshed", {account: this.name}));
    this.onChange();
  }

  async pauseOrResume() {
    const action = this.isPaused ? "resume" : "pause";
    await ask(["accounts", this.name, action], {body: {}});
    tell(word(`done ${action}`, {account: this.name}));
    this.onChange();
  }
}

function figures(transfers) {
  const {OldestUnsentSeconds: oldest, OldestUnsentDetail: detail} = transfers;
  const {BytesPerSecond: bytes, InstancesPerSecond: instances} = transfers;
  return facts([
    [word("oldest unsent"), oldest === null ? null : duration(oldest)],
    [word("why"), detail === null ? null : element("span", {lang: "en"}, detail)],
    [word("rate"), bytes || instances ? word("rate of", {bytes: size(bytes), instances}) : null],
    [word("estimated end"), time(transfers.EstimatedEnd)],
    ...transfers.FormerStores.map((one) => [word("former store"), word("left of former", {
      store: one.Store ?? "?", open: one.OpenInstances, quarantined: one.QuarantinedInstances,
    }), "outside"]),
  ]);
}

function finding({Check: check, Result: result, Cause: cause, Remedy: remedy}) {
  const kind = RESULTS.has(result) ? result : "unknown";
  return element("li", {class: kind},
    element("strong", {}, `${result}: ${check}`), cause ? ` – ${cause}` : "",
    remedy ? element("p", {class: "remedy"}, `→ ${remedy}`) : null);
}

function lastError({Message: message, Remedy: remedy = null, Reason: reason, Time: at}) {
  return element("div", {class: "problem"},
    said(message, "bad"),
    remedy ? said(`→ ${remedy}`, "remedy") : null,
    element("p", {class: "faint"}, word("reason"), `: ${reason} `, time(at)));
}

// What keeps instances from being sent, as far as it is not said twice.
function problemsOf(transfers) {
  if (!transfers) {
    return [];
  }
  const found = transfers.Problems;
  const isKnown = found.some((one) => one.Message === transfers.Problem);
  return transfers.Problem && !isKnown ? [{Message: transfers.Problem}, ...found] : found;
}

function problem({Message: message, Remedy: remedy = null, Since: since = null}) {
  return element("div", {class: "problem"},
    said(message, "bad"),
    remedy ? said(`→ ${remedy}`, "remedy") : null,
    since ? element("p", {class: "faint"}, word("since"), ": ", time(since)) : null);
}

function losses(name, transfers) {
  const changes = transfers.LostChanges;
  const sum = (total, one) => total + one.LostInstances;
  const lost = transfers.FormerStores.reduce(sum, transfers.Lost.Instances);
  if (!lost && !changes) {
    return null;
  }
  return element("div", {class: "problem"},
    lost ? element("p", {class: "bad"}, word("lost", {count: lost})) : null,
    changes ? element("p", {class: "bad"}, word("lost changes", {count: changes})) : null,
    element("p", {}, element("a", {href: `#/losses/${encodeURIComponent(name)}`},
      word("see losses"))));
}

export function makeOverview(_path, _query, {onChange, onCounts}) {
  const silence = element("div", {class: "notice"});
  const list = element("div", {class: "accounts"});
  const parts = new Map();
  return {
    title: word("overview"),
    content: [silence, list],
    async refresh() {
      const read = await readAccounts();
      onCounts(read.accounts);
      renew(silence, read.silence, () => (read.silence === null ? [] : [
        element("p", {}, word("no transfers"), " ",
          element("span", {lang: "en"}, read.silence))]));
      renewList(list, parts, read.accounts, ({name}) => name, ({name}) => {
        const account = new Account(name);
        account.onChange = onChange;
        return account;
      });
      if (!read.accounts.length && !list.children.length) {
        list.append(element("p", {class: "faint"}, word("no account")));
      }
    },
    tick() {
      for (const account of parts.values()) {
        account.tick();
      }
    },
  };
}

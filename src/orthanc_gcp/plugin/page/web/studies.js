// The studies of an account, found by state, UID and date; each opens to series and instances.

import {button, element, facts, newId, renew, statesLine, tell, time} from "./elements.js";
import {Instances, retry} from "./instances.js";
import {linkToReceipt} from "./receipt.js";
import {ask, findInOrthanc} from "./server.js";
import {word} from "./words.js";

const PAGE = 20;
const STATES = [
  "held", "waiting", "delayed", "sending", "acknowledged", "confirmed", "quarantined",
  "superseded", "withdrawn", "lost", "dismissed",
];
const DAY = 86400000;

// The filters of an address as the route takes them: days are those of whoever asks.
function selection(query) {
  const moment = (day, later) => {
    const time = day ? new Date(`${day}T00:00:00`).getTime() + later : NaN;
    return Number.isNaN(time) ? "" : new Date(time).toISOString();
  };
  return {
    state: query.get("state"),
    study: query.get("study"),
    since: moment(query.get("since"), 0),
    until: moment(query.get("until"), DAY),
  };
}

function field(label, control) {
  control.id = newId();
  return element("div", {}, element("label", {for: control.id}, label), control);
}

function makeForm(account, query) {
  const accounts = element("select", {name: "account"},
    element("option", {value: account}, account));
  const states = element("select", {name: "state"},
    element("option", {value: ""}, word("any state")),
    ...STATES.map((state) => element("option", {value: state}, word(`state ${state}`))));
  const study = element("input",
    {name: "study", autocomplete: "off", spellcheck: "false", size: "40"});
  const [since, until] = ["since", "until"].map((name) => element("input", {type: "date", name}));
  for (const control of [states, study, since, until]) {
    control.value = query.get(control.name) || "";
  }
  const form = element("form", {class: "filters", role: "search"},
    field(word("account"), accounts), field(word("state"), states),
    field("Study Instance UID", study),
    field(word("received since"), since), field(word("received until"), until),
    element("button", {type: "submit"}, word("search")));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = new URLSearchParams();
    for (const control of [states, study, since, until]) {
      if (control.value.trim()) {
        chosen.set(control.name, control.value.trim());
      }
    }
    location.hash = `#/studies/${encodeURIComponent(accounts.value)}?${chosen}`;
  });
  return {form, accounts};
}

// What opens to more, which is asked for when it is opened.
function loadWhenOpened(details, load) {
  details.addEventListener("toggle", (event) => {
    if (details.open && event.target === details) {
      load().catch((error) => tell(error.message, true));
    }
  });
}

function dates(one) {
  return facts([
    [word("first received"), time(one.FirstReceived)],
    [word("last confirmed"), time(one.LastConfirmed)],
    [word("store"), one.Store, "outside"],
  ]);
}

function makeOneSeries(one, state) {
  const {Account: account, Study: study, Series: series} = one;
  const instances = new Instances(account, {study, series, state}, () => {});
  const details = element("details", {class: "series"},
    element("summary", {}, `${word("series")} `,
      element("span", {class: "uid outside"}, series), statesLine(one)),
    dates(one),
    element("div", {class: "buttons"},
      named(word("send"), series, () => send(account, series, "Series")),
      named(word("retrieve"), series, () => retrieve(account, {Study: study, Series: series}))),
    instances.element);
  loadWhenOpened(details, () => instances.load());
  return details;
}

// A button that many others have the name of, too.
function named(label, what, action) {
  return button(label, action, {"aria-label": `${label} ${what}`});
}

// The series of a study, page by page; a single one is open.
class Series {
  constructor(account, study, state) {
    this.account = account;
    this.query = {study, state};
    this.list = element("div", {class: "studies"});
    this.pages = element("div", {class: "buttons"});
    this.element = element("div", {}, this.list, this.pages);
  }

  async load(after = "") {
    const query = {...this.query, limit: String(PAGE), after};
    const {Series: found, Next: next} = await ask(["accounts", this.account, "series"], {query});
    this.list.replaceChildren(...found.map((one) => makeOneSeries(one, this.query.state)));
    if (!found.length) {
      this.list.append(element("p", {class: "faint"}, word("no instances")));
    }
    if (found.length === 1 && !after) {
      this.list.firstElementChild.open = true;
    }
    this.pages.replaceChildren(
      ...(after ? [button(word("first page"), () => this.load())] : []),
      ...(next ? [button(word("next page"), () => this.load(next))] : []));
  }
}

function makeStudy(one, query) {
  const {Account: account, Study: study} = one;
  const series = new Series(account, study, query.get("state"));
  const details = element("details", {class: "study"},
    element("summary", {}, element("span", {class: "uid outside"}, study), statesLine(one)),
    dates(one),
    element("div", {class: "buttons"},
      button(word("send"), () => send(account, study, "Study")),
      button(word("retrieve"), () => retrieve(account, {Study: study})),
      button(word("fetch priors"), () => fetchPriors(account, study)),
      one.Quarantined.Instances
        ? button(word("retry"), () => retry(account, {Study: study})) : null,
      element("a", {href: linkToReceipt(account, study), class: "button"}, word("receipt"))),
    series.element);
  loadWhenOpened(details, () => series.load());
  return details;
}

async function send(account, uid, type) {
  const body = {Resources: await findInOrthanc(uid, type)};
  const {Instances: count} = await ask(["accounts", account, "send"], {body});
  tell(word("sent", {count}));
}

async function retrieve(account, resource) {
  await ask(["accounts", account, "retrieve"], {body: {Resources: [resource]}});
  tell(word("retrieval asked for"));
}

async function fetchPriors(account, study) {
  const body = {Resources: await findInOrthanc(study)};
  await ask(["accounts", account, "prefetch"], {body});
  tell(word("priors asked for"));
}

async function fillAccounts(select, chosen) {
  const names = (await ask(["accounts"])).map((one) => one.Name);
  const every = chosen && !names.includes(chosen) ? [chosen, ...names] : names;
  select.replaceChildren(...every.map((name) => element("option", {value: name}, name)));
  select.value = chosen || every[0] || "";
  return select.value;
}

export function makeStudies([named], query) {
  const {form, accounts} = makeForm(named || "", query);
  const list = element("div", {class: "studies"});
  const pages = element("div", {class: "buttons"});
  let account = null;

  async function load(after = "") {
    const wanted = {...selection(query), limit: String(PAGE), after};
    const answer = await ask(["accounts", account, "studies"], {query: wanted});
    const {Studies: found, Next: next} = answer;
    list.replaceChildren(...found.map((one) => makeStudy(one, query)));
    if (!found.length) {
      list.append(element("p", {class: "faint"}, word("no studies")));
    }
    pages.replaceChildren(
      ...(after ? [button(word("first page"), () => load())] : []),
      ...(next ? [button(word("next page"), () => load(next))] : []));
  }

  return {
    title: word("studies"),
    content: [form, list, pages],
    // What somebody reads stays as it was when it was asked for.
    async refresh() {
      if (account !== null) {
        return;
      }
      const first = await fillAccounts(accounts, named);
      if (!first) {
        renew(list, "none", () => [element("p", {class: "faint"}, word("no account"))]);
        return;
      }
      account = first;
      try {
        await load();
      } catch (error) {
        account = null;
        list.replaceChildren(element("p", {class: "bad", lang: "en"}, error.message));
        throw error;
      }
    },
  };
}

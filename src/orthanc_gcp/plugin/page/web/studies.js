// The studies of an account: found by state, UID and date; each opens to its instances.

import {button, element, facts, newId, renew, statesLine, tell, time} from "./elements.js";
import {Instances, retry} from "./instances.js";
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

function makeStudy(one, query, onChange) {
  const {Account: account, Study: study} = one;
  const narrowed = {study, state: query.get("state")};
  const instances = new Instances(account, narrowed, onChange);
  const receipt = `#/receipt/${encodeURIComponent(account)}/${encodeURIComponent(study)}`;
  const details = element("details", {class: "study"},
    element("summary", {}, element("span", {class: "uid outside"}, study), statesLine(one)),
    facts([
      [word("first received"), time(one.FirstReceived)],
      [word("last confirmed"), time(one.LastConfirmed)],
      [word("store"), one.Store, "outside"],
    ]),
    element("div", {class: "buttons"},
      button(word("send"), () => send(account, study)),
      one.Quarantined.Instances
        ? button(word("retry"), () => retry(account, {Study: study})) : null,
      element("a", {href: receipt, class: "button"}, word("receipt"))),
    instances.element);
  details.addEventListener("toggle", () => {
    if (details.open) {
      instances.load().catch((error) => tell(error.message, true));
    }
  });
  return details;
}

async function send(account, study) {
  const found = await findInOrthanc(study);
  if (!found.length) {
    throw new Error(word("not in Orthanc"));
  }
  const body = {Resources: found};
  const {Instances: count} = await ask(["accounts", account, "send"], {body});
  tell(word("sent", {count}));
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
    list.replaceChildren(...found.map((one) => makeStudy(one, query, () => {})));
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

// Who works on the ledger: Orthancs, workers, backfills, audits, the gateway, retrievals.

import {
  button, element, facts, newId, renew, renewList, said, setText, statesBar, tell, time,
} from "./elements.js";
import {ask} from "./server.js";
import {duration, number, size, word} from "./words.js";

const LATEST = 10; // retrievals of an account

// An answer, or the error that came in its place.
const orError = (asked) => asked.catch((error) => error);

// A word of the server's, which is English.
const english = (text) => (text ? element("span", {lang: "en"}, text) : null);

class Section {
  constructor(title) {
    const heading = newId();
    this.content = element("div");
    this.element = element("section", {"aria-labelledby": heading},
      element("h3", {id: heading}, title), this.content);
  }

  // ``make`` gives the elements for an answer that is none of the server's errors.
  update(answer, make) {
    const isError = answer instanceof Error;
    renew(this.content, isError ? answer.message : answer, () => (
      isError ? [said(answer.message, "bad")] : make(answer)));
  }
}

function listOf(items, make, kind = "instances") {
  return items.length
    ? element("ul", {class: kind}, ...items.map((one) => element("li", {}, ...make(one))))
    : element("p", {class: "faint"}, word("none"));
}

function orthanc(one) {
  const oldest = one.OldestOpenSeconds;
  return [
    element("p", {class: "title outside"}, one.Orthanc),
    ...(one.Problem === null ? [] : [said(one.Problem, "bad")]),
    facts([
      [word("index"), one.Index === one.Orthanc ? null : one.Index, "outside"],
      [word("followed since"), time(one.Since)],
      [word("last seen"), time(one.Seen)],
      [word("open"), number(one.OpenInstances), one.Problem && one.OpenInstances ? "bad" : ""],
      [word("oldest unsent"), oldest === null ? null : duration(oldest)],
    ]),
  ];
}

function sender(one) {
  return [
    element("p", {class: "title outside"}, one.Worker),
    facts([
      [word("account"), one.Account, "outside"],
      [word("requests"), number(one.Requests)],
      [word("instances"), word("of size", {count: one.Instances, size: size(one.Bytes)})],
    ]),
  ];
}

// Stays while its figures change: somebody may be about to press the button.
class Backfill {
  constructor(index, onChange) {
    this.isPaused = false;
    this.figures = element("div");
    this.pausing = button("", async () => {
      const action = this.isPaused ? "resume" : "pause";
      await ask(["backfill", action], {body: {Index: index}});
      tell(word(`done ${action}`, {account: index}));
      onChange();
    });
    this.element = element("li", {},
      element("p", {class: "title outside"}, index), this.figures,
      element("div", {class: "buttons"}, this.pausing));
  }

  update(one) {
    this.isPaused = one.Paused;
    setText(this.pausing, word(one.Paused ? "resume" : "pause"));
    renew(this.figures, one, () => backfill(one));
  }
}

class Backfills extends Section {
  constructor(title, onChange) {
    super(title);
    this.parts = new Map();
    this.list = element("ul", {class: "instances"});
    this.instead = element("div");
    this.content.append(this.list, this.instead);
    this.onChange = onChange;
  }

  update(answer) {
    const isError = answer instanceof Error;
    const found = isError ? [] : answer;
    this.list.hidden = !found.length;
    renewList(this.list, this.parts, found, (one) => one.Index,
      (one) => new Backfill(one.Index, this.onChange));
    renew(this.instead, isError ? answer.message : found.length, () => {
      const none = found.length ? null : element("p", {class: "faint"}, word("none"));
      return [isError ? said(answer.message, "bad") : none];
    });
  }
}

function backfill(one) {
  const {Done: done, Total: total} = one.Studies;
  return [
    statesBar(one),
    facts([
      [word("state"), english(one.State)],
      [word("paused"), one.Paused ? word("yes") : null],
      [word("studies"), word("of all", {done, total})],
      [word("hours"), one.Open ? null : word("outside its hours")],
      [word("rate"), one.InstancesPerSecond ? word("rate of", {
        bytes: size(one.BytesPerSecond), instances: one.InstancesPerSecond,
      }) : null],
      [word("began"), time(one.Began)],
      [word("estimated end"), time(one.EstimatedEnd)],
    ]),
  ];
}

function audit(one) {
  const {Done: done, Total: total} = one.Studies;
  return [
    element("p", {class: "title outside"}, one.Machine),
    element("progress", {max: String(total), value: String(done), "aria-label": word("studies")}),
    facts([
      [word("studies"), word("of all", {done, total})],
      [word("began"), time(one.Began)],
      [word("as of"), time(one.Noted)],
    ]),
  ];
}

function workersOf({Workers: names, Senders: sending}) {
  const busy = new Set(sending.map((one) => one.Worker));
  const idle = names.filter((name) => !busy.has(name));
  return [
    listOf(sending, sender),
    idle.length ? facts([[word("idle"), idle.join(", "), "outside"]]) : null,
  ];
}

function gateway(one) {
  const commitments = one.StorageCommitment;
  return [
    one.Problem ? said(one.Problem, "bad") : null,
    facts([
      [word("state"), english(one.State), one.State === "Running" ? "good" : "bad"],
      [word("since"), time(one.Since)],
      [word("port"), one.Port === undefined ? null : String(one.Port)],
      [word("associations"), one.Associations === undefined ? null
        : word("of all", {done: one.Associations, total: one.MaxAssociations})],
      [word("open commitments"), commitments ? number(commitments.Open) : null],
      ...(one.Requests || []).map((each) => [each.Service, statuses(each.ByStatus)]),
    ]),
  ];
}

// The requests of a service by the status that they ended with, as DICOM writes it.
function statuses(counts) {
  return Object.entries(counts).map(([status, count]) => `${status}: ${number(count)}`).join(", ");
}

function retrieval(one) {
  const isBad = one.State === "incomplete";
  return [
    element("p", {class: "title uid outside"}, one.Instance || one.Series || one.Study),
    element("p", {}, word("retrieved", {
      done: one.Received + one.Present, total: one.Instances,
    })),
    one.Detail ? said(one.Detail, isBad ? "bad" : "") : null,
    facts([
      [word("state"), english(one.State), isBad ? "bad" : ""],
      [word("reason"), english(one.Reason)],
      [word("cause"), english(one.Cause)],
      [word("lacking"), one.Missing + one.Different ? number(one.Missing + one.Different) : null,
        "bad"],
      [word("requested"), time(one.Requested)],
      [word("ended"), time(one.Ended)],
    ]),
  ].filter((part) => part !== null);
}

function retrieved({name, answer}) {
  const title = element("h4", {class: "outside"}, name);
  return answer instanceof Error
    ? [title, said(answer.message, "bad")]
    : [title, listOf(answer.Retrievals, retrieval)];
}

async function readRetrievals() {
  const names = (await ask(["accounts"])).map((one) => one.Name);
  const query = {limit: String(LATEST)};
  const answers = names.map((name) => orError(ask(["accounts", name, "retrievals"], {query})));
  return (await Promise.all(answers)).map((answer, place) => ({name: names[place], answer}));
}

let hasGateway = true; // until Orthanc says that it starts none, which stays so while it runs

async function readGateway() {
  const answer = hasGateway ? await orError(ask(["gateway"])) : null;
  hasGateway = answer !== null && answer.status !== 404;
  return answer;
}

export function makeActivity(_path, _query, {onChange}) {
  const orthancs = new Section(word("orthancs"));
  const workers = new Section(word("sending now"));
  const backfills = new Backfills(word("backfills"), onChange);
  const ofGateway = new Section(word("gateway"));
  const retrievals = new Section(word("retrievals"));
  const audits = new Section(word("audits"));
  const sections = [orthancs, workers, backfills, audits, ofGateway, retrievals];
  return {
    title: word("activity"),
    content: sections.map((one) => one.element),
    async refresh() {
      const [active, listening, wanted] = await Promise.all([
        orError(ask(["activity"])), readGateway(), readRetrievals(),
      ]);
      const part = (name) => (active instanceof Error ? active : active[name]);
      orthancs.update(part("Orthancs"), (found) => [listOf(found, orthanc)]);
      workers.update(active, workersOf);
      audits.update(part("Audits"), (found) => [listOf(found, audit)]);
      backfills.update(part("Backfills"));
      ofGateway.element.hidden = !hasGateway;
      if (hasGateway) {
        ofGateway.update(listening, gateway);
      }
      const shown = wanted.map(({name, answer}) => [name, answer.message || answer]);
      renew(retrievals.content, shown, () => wanted.flatMap(retrieved));
    },
  };
}

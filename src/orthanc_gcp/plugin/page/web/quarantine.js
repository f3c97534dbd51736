// What is in quarantine, by reason: why, what to do about it, and the way out.

import {inQuarantine, readAccounts} from "./accounts.js";
import {askWhy, button, element, facts, newId, renew, renewList, said, time} from "./elements.js";
import {Instances, dismiss, retry} from "./instances.js";
import {ask} from "./server.js";
import {number, size, word} from "./words.js";

const HOPELESS = "uid"; // a retry would bring it back
const keyOf = (one) => JSON.stringify([one.Account, one.Destination, one.Current, one.Reason]);

class Group {
  constructor({Account: account, Destination: place, Current: current, Reason: reason}, onChange) {
    this.count = 0;
    const heading = newId();
    const destination = String(place);
    this.words = element("div");
    this.instances = new Instances(
      account, {state: "quarantined", reason, destination}, onChange);
    const details = element("details", {}, element("summary", {}, word("instances")),
      this.instances.element);
    details.addEventListener("toggle", () => {
      if (details.open) {
        this.instances.load().catch((error) => {
          this.instances.list.replaceChildren(element("li", {class: "bad"}, error.message));
        });
      }
    });
    const buttons = element("div", {class: "buttons"});
    if (current && reason && reason !== HOPELESS) { // nothing of a former store is sent again
      buttons.append(button(word("retry group"), async () => {
        await retry(account, {Reason: reason});
        onChange();
      }, {"aria-describedby": heading}));
    }
    if (reason) {
      buttons.append(button(`${word("dismiss group")}…`, () => {
        const seen = {Destination: place, Instances: this.count, AsOf: this.asOf};
        askWhy(
          word("dismiss title", {what: `${account}, ${reason}`}),
          (answer) => dismiss(account, {Reason: reason, ...seen, ...answer}),
          onChange);
      }, {"aria-describedby": heading, "aria-haspopup": "dialog"}));
    }
    this.element = element("article", {"aria-labelledby": heading},
      element("h3", {id: heading}, element("code", {}, reason || "?"), " ",
        element("span", {class: "outside"}, account)),
      this.words, buttons, details);
  }

  update({AsOf: asOf, ...group}) {
    this.count = group.Instances;
    this.asOf = asOf;
    renew(this.words, group, () => [
      group.Detail ? said(group.Detail, "bad") : null,
      said(`→ ${group.Remedy}`, "remedy"),
      facts([
        [word("instances"), word("instances of", {
          instances: group.Instances, studies: group.Studies, size: size(group.Bytes),
        })],
        [word("oldest"), time(group.OldestReceived)],
        [word("example"), group.Example, "uid outside"],
        [word("store"), group.Store, "outside"],
      ]),
    ]);
  }
}

// Sends again, or dismisses, all that an account has in quarantine.
class All {
  constructor(account, onChange) {
    this.count = 0;
    this.shown = element("span");
    this.element = element("p", {class: "all"},
      element("strong", {class: "outside"}, account), " ", this.shown, " ",
      button(word("retry all"), async () => {
        await retry(account, {});
        onChange();
      }),
      button(`${word("dismiss all")}…`, () => {
        const seen = {Instances: this.count, AsOf: this.asOf};
        askWhy(
          word("dismiss title", {what: account}),
          (answer) => dismiss(account, {All: true, ...seen, ...answer}),
          onChange);
      }, {"aria-haspopup": "dialog"}));
  }

  update({count, asOf}) {
    this.count = count;
    this.asOf = asOf;
    renew(this.shown, count, () => [`(${number(count)})`]);
  }
}

export function makeQuarantine([only], _query, {onChange, onCounts}) {
  const silence = element("div", {class: "notice"});
  const all = element("div");
  const list = element("div", {class: "accounts wide"});
  const [ofAll, ofGroups] = [new Map(), new Map()];
  return {
    title: word("quarantine"),
    content: [silence, all, list],
    async refresh() {
      const read = await readAccounts();
      onCounts(read.accounts);
      const meant = read.accounts.filter(
        (one) => inQuarantine(one) && (only === undefined || one.name === only));
      const answers = await Promise.all(
        meant.map(({name}) => ask(["accounts", name, "quarantine"])));
      const groups = answers.flatMap(
        ({Groups: own, AsOf: asOf}) => own.map((one) => ({...one, AsOf: asOf})));
      renew(silence, [read.silence, groups.length], () => [
        read.silence === null ? null : element("p", {lang: "en"}, read.silence),
        read.silence === null && !groups.length
          ? element("p", {}, word("quarantine empty")) : null,
      ]);
      const sums = meant.map(
        (one, at) => ({name: one.name, count: inQuarantine(one), asOf: answers[at].AsOf}));
      renewList(all, ofAll, sums, ({name}) => name, ({name}) => new All(name, onChange));
      renewList(list, ofGroups, groups, keyOf, (group) => new Group(group, onChange));
    },
  };
}

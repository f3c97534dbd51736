// Instances, page by page, each with what became of it and what can be done about it.

import {askWhy, button, element, facts, said, tell, time} from "./elements.js";
import {ask, inOrthanc} from "./server.js";
import {size, word} from "./words.js";

const PAGE = 20;
// What is sent again when it is named; other states need nobody.
const AGAIN = new Set(["quarantined", "withdrawn", "lost", "dismissed"]);
const HOPELESS = "uid";

export class Instances {
  // ``query`` selects them, as the route ``instances`` of the account takes it.
  constructor(account, query, onChange) {
    this.account = account;
    this.query = query;
    this.onChange = onChange;
    this.list = element("ul", {class: "instances", tabindex: "-1"});
    this.pages = element("div", {class: "buttons"});
    this.element = element("div", {}, this.list, this.pages);
    this.after = "";
  }

  async load(after = "") {
    const query = {...this.query, limit: String(PAGE), after};
    const answer = await ask(["accounts", this.account, "instances"], {query});
    const {Instances: found, Next: next} = answer;
    this.after = after;
    this.list.replaceChildren(...found.map((one) => this.item(one)));
    if (!found.length) {
      this.list.append(element("li", {class: "faint"}, word("no instances")));
    }
    this.pages.replaceChildren(
      ...(after ? [button(word("first page"), () => this.load())] : []),
      ...(next ? [button(word("next page"), () => this.load(next))] : []));
  }

  item(one) {
    const state = one.State;
    const name = one.Instance;
    const buttons = element("div", {class: "buttons"});
    if (AGAIN.has(state) && one.Reason !== HOPELESS) {
      const attributes = {"aria-label": `${word("retry")} ${name}`};
      buttons.append(button(word("retry"), () => this.retry(name), attributes));
    }
    if (state === "quarantined") {
      const attributes = {"aria-label": `${word("dismiss")} ${name}`, "aria-haspopup": "dialog"};
      buttons.append(button(`${word("dismiss")}…`, () => this.dismiss(one), attributes));
    }
    if (one.Resource) {
      const attributes = {href: inOrthanc(one.Resource), class: "button"};
      buttons.append(element("a", attributes, word("in Orthanc")));
    }
    return element("li", {},
      element("p", {class: "title uid outside"}, name),
      element("p", {}, element("span", {class: `badge ${state}`}, word(`state ${state}`)), " ",
        one.Reason ? element("code", {}, one.Reason) : ""),
      one.Detail ? said(one.Detail, AGAIN.has(state) ? "bad" : "") : null,
      facts([
        [word("attempts"), String(one.Attempts)],
        [word("next try"), time(one.NextTry)],
        [word("bytes"), size(one.Bytes)],
        [word("received"), time(one.Received)],
        [word("acknowledged"), time(one.Acknowledged)],
        [word("confirmed"), time(one.Confirmed)],
        [word("series"), one.Series, "uid outside"],
        [word("store"), one.Store, "outside"],
        ["SHA-256", one.Sha256, "uid"],
      ]),
      buttons);
  }

  async retry(name) {
    await retry(this.account, {Instance: name});
    await this.reload();
  }

  // What has the same UID in another study, or is for another store, is not meant.
  dismiss({Instance: name, Study: study}) {
    const {destination} = this.query;
    const place = destination ? {Destination: Number(destination)} : {};
    askWhy(
      word("dismiss title", {what: name}),
      (answer) => dismiss(this.account, {Instance: name, Study: study, ...place, ...answer}),
      () => this.reload().catch((error) => tell(error.message, true)));
  }

  // The button that was pressed is gone then, and the focus would be nowhere.
  async reload() {
    await this.load(this.after);
    this.list.focus();
    this.onChange();
  }
}

export async function retry(account, choice) {
  const {Instances: count} = await ask(["accounts", account, "retry"], {body: choice});
  tell(word(count ? "retried" : "retried none", {count}), !count);
}

export async function dismiss(account, choice) {
  const {Instances: count, By: by} = await ask(["accounts", account, "dismiss"], {body: choice});
  tell(word("dismissed", {count, by}));
}

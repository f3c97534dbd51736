// The receipt of a study, to be read, printed or saved as PDF.

import {button, element, facts, said, time} from "./elements.js";
import {ask, studyOf} from "./server.js";
import {number, size, word} from "./words.js";

function span([first, last] = []) {
  return first ? element("span", {}, time(first), " – ", time(last)) : null;
}

function instance(one) {
  return element("li", {},
    element("p", {class: "title uid outside"}, one.Instance),
    facts([
      [word("state"), word(`state ${one.State}`), one.State],
      [word("reason"), one.Reason],
      [word("detail"), one.Detail],
      [word("bytes"), number(one.Bytes)],
      ["SHA-256", one.Sha256, "uid"],
      [word("received"), time(one.Received)],
      [word("acknowledged"), time(one.Acknowledged)],
      [word("confirmed"), time(one.Confirmed)],
      [word("store"), one.Store, "outside"],
    ]));
}

function head(receipt) {
  return facts([
    ["Study Instance UID", receipt.Study, "uid outside"],
    [word("account"), receipt.Account, "outside"],
    [word("store"), receipt.Store, "outside"],
    [word("complete"), word(receipt.Complete ? "yes" : "no"), receipt.Complete ? "good" : "bad"],
    [word("instances"), word("of size", {count: receipt.Instances, size: size(receipt.Bytes)})],
    [word("states"), Object.entries(receipt.States)
      .map(([state, count]) => `${word(`state ${state}`)}: ${number(count)}`).join(", ")],
    [word("digest of all"), receipt.Sha256, "uid"],
    [word("sent by"), receipt.SentBy.join(", "), "outside"],
    [word("workers"), receipt.Workers.join(", "), "outside"],
    [word("sources"), receipt.Sources.join(", "), "outside"],
    [word("received"), span(receipt.Received)],
    [word("acknowledged"), span(receipt.Acknowledged)],
    [word("confirmed"), span(receipt.Confirmed)],
    [word("printed"), time(receipt.Issued)],
    ...signature(receipt),
  ]);
}

function signature({Signature: own, Unsigned: why}) {
  return own
    ? [[word("key id"), own.KeyId, "uid"], [word("signature"), own.Value, "uid"]]
    : [[word("signature"), word("not signed", {why}), "bad outside"]];
}

// The signature is of this document: `orthanc-gcp receipt --verify` checks the file.
function save(receipt) {
  const content = new Blob([JSON.stringify(receipt, null, 2)], {type: "application/json"});
  const href = URL.createObjectURL(content);
  element("a", {href, download: `receipt-${receipt.Study}.json`}).click();
  setTimeout(() => URL.revokeObjectURL(href), 60000); // the browser reads it after the click
}

function happened(receipt) {
  const older = receipt.OlderEvents;
  return [
    element("h3", {}, word("events")),
    older ? element("p", {class: "faint"}, word("older events", {count: older})) : null,
    element("ol", {class: "events"}, ...receipt.Events.map((one) => element("li", {},
      time(one.Time), ` ${one.Kind} `, element("span", {class: "uid outside"}, one.Instance),
      one.Detail ? ` – ${one.Detail}` : ""))),
  ].filter((part) => part !== null);
}

const IDENTIFIER = /^[0-9a-f-]{1,100}$/;
const MOST = 100; // studies that are looked up at once

export function linkToReceipt(account, study) {
  return `#/receipt/${encodeURIComponent(account)}/${encodeURIComponent(study)}`;
}

// What a button of Orthanc Explorer 2 has named, which knows Orthanc's identifiers alone.
function identifiers(query) {
  const named = (query.get("resource") || "").split(",").filter((one) => IDENTIFIER.test(one));
  return [...new Set(named)].slice(0, MOST);
}

async function link(account, identifier) {
  try {
    const study = await studyOf(identifier);
    const href = linkToReceipt(account, study);
    return {href, item: element("a", {href, class: "uid outside"}, study)};
  } catch (error) {
    return {item: element("span", {}, `${identifier}: ${error.message}`)};
  }
}

// Leads to the receipt of each study; of one, at once.
function makeChoice(account, query) {
  const list = element("ul", {class: "choice"});
  let isLoaded = false;
  return {
    title: word("receipt"),
    content: [list],
    async refresh() {
      if (isLoaded) {
        return;
      }
      isLoaded = true;
      const links = [];
      for (const identifier of identifiers(query)) { // one by one: Orthanc has other work
        links.push(await link(account, identifier));
      }
      if (links.length === 1 && links[0].href) {
        location.replace(links[0].href);
      } else {
        list.replaceChildren(...links.map(({item}) => element("li", {}, item)));
      }
      if (!links.length) {
        list.replaceWith(said(word("not in Orthanc"), "bad"));
      }
    },
  };
}

export function makeReceipt([account, study], query) {
  if (study === undefined) {
    return makeChoice(account, query);
  }
  const body = element("div", {class: "receipt"});
  const print = element("div", {class: "buttons"}, button(word("print"), () => window.print()));
  let isLoaded = false;
  return {
    title: word("receipt"),
    content: [print, body],
    async refresh() {
      if (isLoaded) {
        return;
      }
      const receipt = await ask(["accounts", account, "receipt"], {query: {study}});
      isLoaded = true;
      print.append(button(word("save as JSON"), () => save(receipt)));
      body.replaceChildren(head(receipt), ...receipt.Series.flatMap((series) => [
        element("h3", {}, `${word("series")} `,
          element("span", {class: "uid outside"}, series.Series)),
        element("ul", {class: "instances"}, ...series.Instances.map(instance)),
      ]), ...happened(receipt));
    },
  };
}

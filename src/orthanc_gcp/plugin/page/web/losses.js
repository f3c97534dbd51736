// What of an account is lost, and who has acknowledged what.

import {askWho, button, element, facts, renew, said, tell, time} from "./elements.js";
import {ask} from "./server.js";
import {number, size, word} from "./words.js";

function lostStudy(one) {
  return element("li", {},
    element("p", {class: "title uid outside"}, one.Study),
    facts([
      [word("instances"), word("of size", {count: one.Instances, size: size(one.Bytes)})],
      [word("first received"), time(one.Received[0])],
      [word("last received"), time(one.Received[1])],
      ...origin(one),
    ]));
}

function lostChanges(one) {
  const hasNumbers = one.Last !== 0; // versions that went with an index have none
  const count = {count: one.Changes};
  const what = hasNumbers ? word("changes unread", count) : word("newer versions gone", count);
  return element("li", {},
    element("p", {class: "title"}, what),
    facts([
      ...(hasNumbers
        ? [[word("numbers"), `${number(one.First)} – ${number(one.Last)}`]]
        : []),
      [word("noticed"), time(one.Noticed)],
      ...origin(one),
    ]));
}

function origin(one) {
  return [
    [word("orthanc"), one.Source, "outside"],
    [word("loss acknowledged"), time(one.Acknowledged)],
    [word("by"), one.By, "outside"],
  ];
}

const items = ({Studies: studies, Changes: changes}) => [
  ...studies.map(lostStudy), ...changes.map(lostChanges),
];

async function acknowledge(account, listed, by) {
  const path = ["accounts", account, "losses", "acknowledge"];
  const answer = await ask(path, {body: {Listed: listed, ...by}});
  const {Instances: instances, Changes: changes, By: who} = answer;
  tell(word("losses acknowledged", {instances, changes, by: who}));
}

export function makeLosses([account], _query, {onChange}) {
  let listed = null; // the name of what somebody sees
  const problem = element("div");
  const list = element("div");
  const former = element("div");
  const acknowledging = button(`${word("acknowledge")}…`, () => {
    const shown = listed;
    askWho(
      word("acknowledge title", {account}),
      (by) => acknowledge(account, shown, by),
      () => {
        list.focus();
        onChange();
      });
  }, {"aria-haspopup": "dialog", class: "danger"});
  const buttons = element("div", {class: "buttons"}, acknowledging);
  list.setAttribute("tabindex", "-1");
  buttons.hidden = true;
  return {
    title: word("losses of", {account}),
    content: [problem, list, buttons, former],
    async refresh() {
      let answer = null;
      try {
        answer = await ask(["accounts", account, "losses"], {query: {all: "true"}});
      } catch (error) {
        renew(problem, error.message, () => [said(error.message, "bad")]);
        throw error;
      }
      renew(problem, answer.More, () => [
        answer.More ? element("p", {class: "bad"}, word("more lost")) : null,
      ]);
      renew(list, [answer.Studies, answer.Changes], () => [
        answer.Listed === null
          ? element("p", {}, word("nothing lost"))
          : element("ul", {class: "instances"}, ...items(answer)),
      ]);
      listed = answer.Listed;
      buttons.hidden = listed === null;
      const known = items(answer.Acknowledged);
      renew(former, answer.Acknowledged, () => (known.length ? [
        element("h3", {}, word("acknowledged before")),
        element("ul", {class: "instances"}, ...known),
      ] : []));
    },
  };
}

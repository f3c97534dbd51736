// What the parts of the page are made of. Whatever comes from outside becomes text, never HTML.

import {moment, number, size, word} from "./words.js";

const MAX_TEXT = 2000;
let made = 0;

export function newId() {
  made += 1;
  return `made-${made}`;
}

export function element(name, attributes = {}, ...children) {
  const result = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    result.setAttribute(key, value);
  }
  result.append(...children.filter((child) => child !== null));
  return result;
}

export function shorten(text) {
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
}

// What a server says, which is in English whatever the page is in.
export function said(text, kind = "") {
  return element("p", {lang: "en", class: kind}, shorten(text));
}

export function setText(node, text) {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

// Makes the content of a node anew when what it is made of has changed, and leaves it alone
// otherwise: somebody may just read it, or have the focus there.
export function renew(node, data, make) {
  const key = JSON.stringify(data);
  if (node.shownData !== key) {
    node.shownData = key;
    node.replaceChildren(...make().filter((child) => child !== null));
  }
}

// Has one part for each item, in their order; parts that are there stay as they are.
export function renewList(parent, parts, items, keyOf, make) {
  const keys = new Set(items.map(keyOf));
  for (const [key, part] of parts) {
    if (!keys.has(key)) {
      part.element.remove();
      parts.delete(key);
    }
  }
  let next = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const part = parts.get(key) || make(item);
    parts.set(key, part);
    part.update(item);
    if (part.element === next) {
      next = next.nextElementSibling;
    } else {
      parent.insertBefore(part.element, next);
    }
  }
}

// A list of names and values; a value that is null is left out.
export function facts(pairs) {
  const result = element("dl");
  for (const [name, value, kind] of pairs) {
    if (value !== null && value !== undefined && value !== "") {
      const shown = typeof value === "string" ? shorten(value) : value;
      result.append(
        element("div", {}, element("dt", {}, name), element("dd", {class: kind || ""}, shown)));
    }
  }
  return result;
}

export function time(text) {
  return text ? element("time", {datetime: text}, moment(text)) : null;
}

export function button(label, action, attributes = {}) {
  const result = element("button", {type: "button", ...attributes}, label);
  let isRunning = false;
  result.addEventListener("click", async () => {
    if (isRunning) {
      return;
    }
    isRunning = true;
    result.setAttribute("aria-disabled", "true"); // one that is disabled would lose the focus
    try {
      await action();
    } catch (error) {
      tell(error.message, true);
    } finally {
      isRunning = false;
      result.removeAttribute("aria-disabled");
    }
  });
  return result;
}

// Says what came of something that somebody has done.
export function tell(text, isBad = false) {
  const node = document.getElementById("message");
  node.className = isBad ? "bad" : "";
  node.textContent = "";
  node.textContent = shorten(text);
}

// -- States ----------------------------------------------------------------------------------

export const STATES = [
  "Confirmed", "Acknowledged", "Sending", "Waiting", "Quarantined", "Lost", "Dismissed",
  "Withdrawn", "Superseded",
];

const nameOf = (state) => word(`state ${state.toLowerCase()}`);
const inStates = (counts) => STATES.filter((state) => counts[state].Instances);

function bar(counts) {
  const result = element("span", {class: "bar", "aria-hidden": "true"});
  for (const state of inStates(counts)) {
    const part = element("span", {class: state.toLowerCase()});
    part.style.flexGrow = String(counts[state].Instances);
    result.append(part);
  }
  return result;
}

// How many instances are in which state: a bar for the eye, and the same in words.
export function statesBar(counts) {
  const list = element("ul", {class: "states"}, ...inStates(counts).map((state) => element("li", {},
    element("span", {class: `swatch ${state.toLowerCase()}`, "aria-hidden": "true"}),
    `${nameOf(state)}: `, element("strong", {}, number(counts[state].Instances)),
    ` (${size(counts[state].Bytes)})`)));
  return list.children.length
    ? element("div", {class: "progress"}, bar(counts), list)
    : element("p", {class: "faint"}, word("nothing sent"));
}

// The same in one line.
export function statesLine(counts) {
  const words = inStates(counts).map(
    (state) => `${nameOf(state)}: ${number(counts[state].Instances)}`);
  return element("span", {class: "line"}, bar(counts), words.join(", "));
}

// -- Questions to a person ---------------------------------------------------------------------

// Asks why something is dismissed, and who says so.
export function askWhy(title, dismiss, done) {
  const whyId = newId();
  const why = element("input", {id: whyId, required: "", maxlength: "1000", autocomplete: "off"});
  askPerson({
    title,
    means: word("dismiss means"),
    does: word("dismiss"),
    fields: [element("label", {for: whyId}, word("why")), why],
    act: (by) => dismiss({Why: why.value.trim(), ...by}),
    done,
  });
}

// Asks who acknowledges something.
export function askWho(title, acknowledge, done) {
  askPerson({
    title,
    means: word("acknowledge means"),
    does: word("acknowledge"),
    fields: [],
    act: acknowledge,
    done,
  });
}

// Has a person say who it is before something is done; stays open with what is wrong. ``done`` is
// called when it is closed after that; the focus is where it was before then.
function askPerson({title, means, does, fields, act, done}) {
  const [heading, byId] = [newId(), newId()];
  const by = element("input", {id: byId, maxlength: "150", autocomplete: "name"});
  const problem = element("p", {class: "bad", role: "alert"});
  const dialog = element("dialog", {"aria-labelledby": heading});
  const form = element("form", {},
    element("h2", {id: heading}, title),
    element("p", {}, means),
    ...fields,
    element("label", {for: byId}, word("your name")), by,
    problem,
    element("div", {class: "buttons"},
      button(word("cancel"), () => dialog.close()),
      element("button", {type: "submit", class: "danger"}, does)));
  let isRunning = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (isRunning) {
      return;
    }
    isRunning = true;
    try {
      await act({By: by.value.trim()});
    } catch (error) {
      problem.textContent = error.message;
      return;
    } finally {
      isRunning = false;
    }
    dialog.close();
    done();
  });
  dialog.addEventListener("close", () => dialog.remove());
  dialog.append(form);
  document.body.append(dialog);
  dialog.showModal();
  form.querySelector("input").focus();
}

// One view at a time, named by the address, which follows what it shows while somebody sees it.

import {makeActivity} from "./activity.js";
import {inQuarantine} from "./accounts.js";
import {element, setText} from "./elements.js";
import {makeLosses} from "./losses.js";
import {makeOverview} from "./overview.js";
import {makeQuarantine} from "./quarantine.js";
import {makeReceipt} from "./receipt.js";
import {makeStudies} from "./studies.js";
import {choose, language, loadWords, number, word} from "./words.js";

const EVERY = 5000;
const PAUSE = 20; // times as long as it took: what is slow is asked less often
const VIEWS = {
  overview: makeOverview, quarantine: makeQuarantine, studies: makeStudies, receipt: makeReceipt,
  losses: makeLosses, activity: makeActivity,
};
// Views that need to know what they are about, with how many names that can be.
const NAMED = {receipt: [1, 2], losses: [1]};
const get = (id) => document.getElementById(id);

let view = null;
let timer = 0;
let running = null;

// "#/studies/my-google?state=lost" names a view, what it is about, and its query.
function readAddress() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  let parts = [];
  try {
    parts = path.split("/").filter(Boolean).map(decodeURIComponent);
  } catch {
    // Nothing that this page has written.
  }
  const [name = "overview", ...rest] = parts;
  const known = Object.hasOwn(VIEWS, name) && (NAMED[name] ?? [rest.length]).includes(rest.length);
  const found = known ? {name, rest} : {name: "overview", rest: []};
  return {...found, query: new URLSearchParams(query)};
}

function open(isFirst) {
  const {name, rest, query} = readAddress();
  view = VIEWS[name](rest, query, {onChange: follow, onCounts: showCounts});
  const heading = element("h2", {tabindex: "-1"}, view.title);
  get("view").replaceChildren(heading, ...view.content);
  document.title = `${view.title} – Google Cloud`;
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === name) {
      link.setAttribute("aria-current", "page");
    } else {
      link.removeAttribute("aria-current");
    }
  }
  if (!isFirst) {
    heading.focus(); // a screen reader says where it is now
    get("message").textContent = "";
  }
  follow();
}

function showCounts(accounts) {
  const count = accounts.reduce((sum, one) => sum + inQuarantine(one), 0);
  setText(get("quarantined"), count ? ` (${number(count)})` : "");
}

async function look(shown) {
  const started = performance.now();
  try {
    await shown.refresh();
    setText(get("connection"), word("live"));
    get("connection").className = "live";
  } catch (error) {
    setText(get("connection"), error.message);
    get("connection").className = "lost";
  }
  return performance.now() - started;
}

// Asks now, and again and again while the page is in sight.
async function follow() {
  clearTimeout(timer);
  const shown = view;
  if (document.hidden || running === shown) {
    return;
  }
  running = shown;
  const took = await look(shown);
  if (running === shown) {
    running = null;
  }
  if (view === shown && !document.hidden) {
    clearTimeout(timer);
    timer = setTimeout(follow, Math.max(EVERY, PAUSE * took));
  }
}

async function start() {
  await loadWords();
  for (const node of document.querySelectorAll("[data-word]")) {
    node.textContent = word(node.dataset.word);
  }
  get("views").setAttribute("aria-label", word("views"));
  get("language").value = language;
  get("language").addEventListener("change", (event) => choose(event.target.value));
  window.addEventListener("hashchange", () => open(false));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearTimeout(timer);
    } else {
      follow();
    }
  });
  setInterval(() => document.hidden || view.tick?.(), 1000);
  open(true);
}

start();

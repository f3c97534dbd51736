// The page follows the emulator: what is new is shown without a change to what is open or written.

import {fetchJson, setText} from "./elements.js";
import {makeRequests} from "./requests.js";
import {Settings} from "./settings.js";
import {makeStores} from "./stores.js";

const EVERY = 2000;
const STORES_EVERY = 10000; // without a request, an operation may go on
const PAUSE = 5; // times as long as it took: looking at a large store must not slow the emulator
const get = (id) => document.getElementById(id);

const stores = makeStores(get("stores"));
const requests = makeRequests(get("requests"));
const settings = new Settings(get("settings"));
let isStarted = false;
let refreshing = null;
let storesLoaded = 0;

async function start() {
  await settings.load();
  await stores.load();
  isStarted = true;
  storesLoaded = performance.now();
  const full = [...stores.table.rows.values()].find((row) => row.cells[1].textContent !== "0");
  await full?.open(true);
}

async function look() {
  if (!isStarted) {
    await start();
  }
  const {changes} = settings;
  const overview = await fetchJson("/emulator/overview");
  if (changes === settings.changes) {
    settings.show(overview.settings); // nothing was set while it came
  }
  if (requests.show(overview.requests) || performance.now() - storesLoaded > STORES_EVERY) {
    await stores.load();
    storesLoaded = performance.now();
  }
}

function refresh() {
  refreshing = refreshing || look().finally(() => { refreshing = null; });
  return refreshing;
}

async function follow() {
  const started = performance.now();
  if (!document.hidden) {
    try {
      await refresh();
      setText(get("connection"), "Live");
      get("connection").className = "live";
    } catch {
      setText(get("connection"), "No answer from the emulator");
      get("connection").className = "lost";
    }
  }
  setTimeout(follow, Math.max(EVERY, PAUSE * (performance.now() - started)));
}

function watchReset() {
  const dialog = get("reset-dialog");
  get("reset").addEventListener("click", () => {
    setText(get("reset-problem"), "");
    dialog.showModal();
  });
  get("reset-cancel").addEventListener("click", () => dialog.close());
  get("reset-confirm").addEventListener("click", async () => {
    try {
      await fetchJson("/emulator/reset", null, {method: "POST"});
      dialog.close();
      await stores.load();
      await refresh();
    } catch (error) {
      setText(get("reset-problem"), error.message);
    }
  });
}

document.addEventListener("visibilitychange", () => document.hidden || refresh().catch(() => {}));
watchReset();
follow();

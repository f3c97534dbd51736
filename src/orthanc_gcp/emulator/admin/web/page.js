// The page follows the emulator: what is new is shown without a change to what is open or written.

import {fetchJson, setText} from "./elements.js";
import {makeRequests} from "./requests.js";
import {Settings} from "./settings.js";
import {makeStores} from "./stores.js";

const EVERY = 2000;
const PAUSE = 5; // times as long as it took: looking at a large store must not slow the emulator
const get = (id) => document.getElementById(id);

const stores = makeStores(get("stores"));
const requests = makeRequests(get("requests"));
const settings = new Settings(get("settings"), refresh);
let isStarted = false;
let refreshing = null;

async function start() {
  await settings.load();
  await stores.load();
  isStarted = true;
  const full = [...stores.table.rows.values()].find((row) => row.cells[1].textContent !== "0");
  await full?.open(true);
}

async function look() {
  const overview = await fetchJson("/emulator/overview");
  if (!isStarted) {
    await start();
  }
  settings.show(overview.settings);
  if (requests.show(overview.requests)) {
    await stores.load();
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
      await refresh();
      await stores.load();
    } catch (error) {
      setText(get("reset-problem"), error.message);
    }
  });
}

document.addEventListener("visibilitychange", () => document.hidden || refresh().catch(() => {}));
watchReset();
follow();

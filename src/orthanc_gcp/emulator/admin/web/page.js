"use strict";

// Whatever came with DICOM files or requests is shown as text, never as HTML.

const EVERY = 2000;
const PAGE = 20;
const get = (id) => document.getElementById(id);
const shown = {store: null, offset: 0, request: null, settings: {}};

async function fetchJson(path, options) {
  const answer = await fetch(path, {cache: "no-store", ...options});
  const body = await answer.json();
  if (!answer.ok) {
    throw new Error(body.error.message);
  }
  return body;
}

function cell(text, kind) {
  const made = document.createElement("td");
  made.textContent = text;
  made.className = kind || "";
  return made;
}

function row(...cells) {
  const made = document.createElement("tr");
  made.append(...cells);
  return made;
}

function fill(id, rows, columns, otherwise) {
  const empty = cell(otherwise, "none");
  empty.colSpan = columns;
  get(id).replaceChildren(...(rows.length ? rows : [row(empty)]));
}

function size(bytes) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  for (; bytes >= 1000 && unit < units.length - 1; unit += 1) {
    bytes /= 1000;
  }
  return `${unit ? bytes.toFixed(1) : bytes} ${units[unit]}`;
}

function storeRow(store) {
  const choose = document.createElement("button");
  choose.type = "button";
  choose.textContent = store.name;
  choose.setAttribute("aria-pressed", String(store.name === shown.store));
  choose.addEventListener("click", () => run(() => showStudies(store.name, 0)));
  const name = cell("", "wide");
  name.append(choose);
  const counts = [store.studies, store.series, store.instances, size(store.blob_size)];
  return row(name, ...counts.map((count) => cell(count, "number")));
}

async function showStores() {
  const {stores} = await fetchJson("/emulator/stores");
  if (!stores.some((store) => store.name === shown.store)) {
    shown.store = (stores.find((store) => store.studies) || stores[0] || {name: null}).name;
    shown.offset = 0;
  }
  const focused = document.activeElement.closest("#stores button")?.textContent;
  fill("stores", stores.map(storeRow), 5, "There is no store.");
  if (focused) {
    [...get("stores").querySelectorAll("button")]
      .find((button) => button.textContent === focused)?.focus();
  }
  await showStudies(shown.store, shown.offset);
}

function studyRow(study) {
  const date = study.study_date.replace(/^(\d{4})(\d\d)(\d\d)$/, "$1-$2-$3");
  return row(
    cell(study.patient_name),
    cell(study.patient_id),
    cell(date, "date"),
    cell(study.accession_number),
    cell(study.series, "number"),
    cell(study.instances, "number"),
    cell(study.uid, "wide code"),
  );
}

async function showStudies(store, offset) {
  shown.store = store;
  shown.offset = offset;
  let found = {studies: [], more: false};
  if (store !== null) {
    const query = new URLSearchParams({store, offset});
    found = await fetchJson(`/emulator/studies?${query}`);
  }
  for (const button of get("stores").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.textContent === store));
  }
  const name = store === null ? "" : ` of ${store.split("/").pop()}`;
  get("studies-title").textContent = `Studies${name}`;
  fill("studies", found.studies.map(studyRow), 7, "There is no study.");
  const last = offset + found.studies.length;
  get("position").textContent = found.studies.length ? `${offset + 1}–${last}` : "";
  get("newer").disabled = offset === 0;
  get("older").disabled = !found.more;
}

function requestRow(request) {
  const time = new Date(request.time * 1000).toLocaleTimeString([], {hour12: false});
  const good = request.status >= 200 && request.status < 400;
  return row(
    cell(time, "number"),
    cell(request.method),
    cell(request.status || "–", `number ${good ? "good" : "bad"}`),
    cell(request.milliseconds.toFixed(1), "number"),
    cell(request.path, "wide code"),
  );
}

function showRequests(requests) {
  const last = requests.length ? requests[0].number : 0;
  const isNew = last !== shown.request;
  shown.request = last;
  if (isNew) {
    fill("requests", requests.map(requestRow), 5, "Nothing was asked yet.");
  }
  return isNew;
}

function control(name, value) {
  const input = document.createElement("input");
  input.id = `setting-${name}`;
  if (typeof value === "boolean") {
    input.type = "checkbox";
    input.checked = value;
    input.addEventListener("change", () => {
      shown.settings[name] = null; // whatever comes of it, the next look shows the truth
      run(() => set(name, input.checked));
    });
  } else {
    input.className = "code";
    input.value = JSON.stringify(value);
    input.spellcheck = false;
    input.autocomplete = "off";
  }
  return input;
}

function settingForm(name, value) {
  const form = document.createElement("form");
  const label = document.createElement("label");
  const input = control(name, value);
  label.htmlFor = input.id;
  label.textContent = name;
  form.append(label, input);
  if (input.type !== "checkbox") {
    const button = document.createElement("button");
    button.textContent = "Set";
    button.setAttribute("aria-label", `Set ${name}`);
    form.append(button);
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run(() => set(name, JSON.parse(input.value)));
  });
  form.dataset.name = name;
  return form;
}

// Rules count while they apply: that must not undo what somebody is writing.
function isEdited(input, before) {
  return input === document.activeElement && input.type !== "checkbox" && input.value !== before;
}

function showSettings(settings, harmless) {
  if (!get("settings").children.length) {
    get("settings").append(...Object.entries(settings).map(([n, v]) => settingForm(n, v)));
  }
  for (const form of get("settings").children) {
    const {name} = form.dataset;
    const text = JSON.stringify(settings[name]);
    const input = get(`setting-${name}`);
    if (text !== shown.settings[name] && !isEdited(input, shown.settings[name])) {
      input.value = text;
      input.checked = settings[name] === true;
      shown.settings[name] = text;
    }
    form.classList.toggle("marked", text !== JSON.stringify(harmless[name]));
  }
}

async function set(name, value) {
  const body = JSON.stringify({[name]: value});
  await fetchJson("/emulator/state", {method: "PATCH", body});
  const input = get(`setting-${name}`);
  if (input.type !== "checkbox") {
    shown.settings[name] = input.value; // it is no longer being written
  }
  await refresh();
}

async function refresh() {
  const {requests, settings, harmless} = await fetchJson("/emulator/overview");
  showSettings(settings, harmless);
  if (showRequests(requests)) {
    await showStores();
  }
}

async function run(action) {
  get("problem").textContent = "";
  try {
    await action();
  } catch (error) {
    get("problem").textContent = error.message;
  }
}

async function follow() {
  if (!document.hidden) {
    try {
      await refresh();
      get("connection").textContent = "";
      get("connection").className = "";
    } catch {
      get("connection").textContent = "No answer from the emulator";
      get("connection").className = "lost";
    }
  }
  setTimeout(follow, EVERY);
}

get("newer").addEventListener("click", () =>
  run(() => showStudies(shown.store, Math.max(0, shown.offset - PAGE))));
get("older").addEventListener("click", () =>
  run(() => showStudies(shown.store, shown.offset + PAGE)));
document.addEventListener("visibilitychange", () => run(refresh));
follow();

// Stores, which open to studies, series and instances, some at a time.

import {
  Row, Table, breakable, button, element, enable, fetchJson, newId, setText, size,
} from "./elements.js";

const AT_ONCE = 20;
const RENDERING_LIMIT = 90000; // in milliseconds; the emulator gives up before

const date = (text) => text.replace(/^(\d{4})(\d\d)(\d\d)$/, "$1-$2-$3");
const number = (value) => value.toLocaleString("en");

const STORES = {
  plural: "stores",
  otherwise: "There is no store.",
  columns: [
    {title: "Store", kind: "main"},
    {title: "Studies", kind: "number"},
    {title: "Series", kind: "number"},
    {title: "Instances", kind: "number"},
    {title: "Size", kind: "number"},
  ],
  key: (store) => store.name,
  show: (row, store) => {
    row.setCell(0, store.name, storeName);
    row.setCell(1, number(store.studies));
    row.setCell(2, number(store.series));
    row.setCell(3, number(store.instances));
    row.setCell(4, size(store.blob_size));
  },
  content: (store) =>
    new List(STUDIES, {store: store.name}, `Studies of ${store.name.split("/").pop()}`),
};

const STUDIES = {
  plural: "studies",
  otherwise: "There is no study.",
  back: "Newer",
  on: "Older",
  columns: [
    {title: "Patient", kind: "main"},
    {title: "Patient ID"},
    {title: "Date", kind: "date"},
    {title: "Accession"},
    {title: "Series", kind: "number"},
    {title: "Instances", kind: "number"},
    {title: "Study Instance UID", kind: "uid"},
  ],
  key: (study) => study.uid,
  show: (row, study) => {
    row.setCell(0, study.patient_name || "(no name)");
    row.setCell(1, study.patient_id);
    row.setCell(2, date(study.study_date));
    row.setCell(3, study.accession_number);
    row.setCell(4, number(study.series));
    row.setCell(5, number(study.instances));
    row.setCell(6, study.uid);
  },
  content: (study, query) =>
    new List(SERIES, {...query, study: study.uid}, `Series of study ${study.uid}`),
};

const SERIES = {
  plural: "series",
  otherwise: "There is no series.",
  columns: [
    {title: "Series", kind: "main"},
    {title: "Modality"},
    {title: "Number", kind: "number"},
    {title: "Instances", kind: "number"},
    {title: "Series Instance UID", kind: "uid"},
  ],
  key: (series) => series.uid,
  show: (row, series) => {
    row.setCell(0, series.description || "(no description)");
    row.setCell(1, series.modality);
    row.setCell(2, series.number);
    row.setCell(3, number(series.instances));
    row.setCell(4, series.uid);
  },
  content: (series, query) =>
    new List(INSTANCES, {...query, series: series.uid}, `Instances of series ${series.uid}`),
};

const INSTANCES = {
  plural: "instances",
  otherwise: "There is no instance.",
  columns: [
    {title: "SOP Instance UID", kind: "main uid"},
    {title: "Number", kind: "number"},
    {title: "SOP class"},
    {title: "Transfer syntax"},
    {title: "Size", kind: "number"},
  ],
  key: (instance) => instance.uid,
  show: (row, instance) => {
    row.setCell(0, instance.uid);
    row.setCell(1, instance.number);
    row.setCell(2, instance.sop_class);
    row.setCell(3, instance.transfer_syntax);
    row.setCell(4, size(instance.size));
    if (row.content) {
      row.content.digest = instance.sha256;
    }
  },
  content: (instance, query) => new Instance({...query, instance: instance.uid}, instance.sha256),
};

function storeName(name) {
  const [, parent, last] = name.match(/^(.*\/)?([^/]*)$/s);
  const result = document.createDocumentFragment();
  result.append(element("span", {class: "parent"}, breakable(parent || "")),
    element("strong", {}, last));
  return result;
}

// What is below something. Loading it again loads again what is open in it.
class List {
  constructor(level, query, label) {
    this.level = level;
    this.query = query;
    this.offset = 0;
    this.loads = 0;
    this.table = new Table(label, level.columns, level.plural);
    this.problem = element("p", {class: "problem", role: "alert"});
    this.back = button(level.back || "Previous", {}, () => this.go(-AT_ONCE));
    this.on = button(level.on || "Next", {}, () => this.go(AT_ONCE));
    this.position = element("span", {role: "status"});
    this.pages = element("nav", {"aria-label": `Pages: ${label}`, hidden: ""},
      this.back, this.position, this.on);
    this.element = element("div", {class: "list"}, this.table.whole, this.problem, this.pages);
  }

  async load() {
    this.loads += 1;
    const load = this.loads;
    let found;
    try {
      found = await fetchJson(`/emulator/${this.level.plural}`, {...this.query, offset: this.offset});
      setText(this.problem, "");
    } catch (error) {
      setText(this.problem, error.message);
      return;
    }
    if (load !== this.loads) {
      return; // another page was asked for meanwhile
    }
    const items = found[this.level.plural];
    if (!items.length && this.offset) {
      this.offset = 0; // what was here is deleted
      await this.load();
      return;
    }
    this.table.show(items, this.level.key, (item) => this.makeRow(item), {
      otherwise: this.level.otherwise,
    });
    this.showPages(items.length, found.more);
    for (const row of [...this.table.rows.values()].filter((one) => one.isOpen)) {
      await row.content.load();
    }
  }

  makeRow(item) {
    const row = new Row(this.level.columns, {
      label: 0,
      makeContent: () => this.level.content(item, this.query),
    });
    row.update = (current) => this.level.show(row, current);
    return row;
  }

  showPages(count, isMore) {
    setText(this.position, `${this.offset + 1}–${this.offset + count}`);
    this.pages.hidden = !this.offset && !isMore;
    enable(this.back, this.offset > 0);
    enable(this.on, isMore);
  }

  go(step) {
    this.offset = Math.max(0, this.offset + step);
    return this.load();
  }
}

// An instance: a frame as an image, and its attributes.
class Instance {
  constructor(query, digest) {
    this.query = query;
    this.digest = digest;
    this.loaded = null;
    this.address = null;
    this.frame = 1;
    this.frames = 0;
    this.text = element("p", {role: "status"}, "Loading…");
    this.image = element("img", {hidden: "", alt: ""});
    this.input = element("input", {type: "number", min: "1", id: newId(), value: "1"});
    this.input.addEventListener("change", () => this.show(Number(this.input.value)));
    this.of = element("span");
    this.choose = element("div", {class: "frames", hidden: ""},
      button("Previous", {"aria-label": "Previous frame"}, () => this.show(this.frame - 1)),
      element("label", {for: this.input.id}, "Frame"), this.input, this.of,
      button("Next", {"aria-label": "Next frame"}, () => this.show(this.frame + 1)));
    this.table = element("table", {class: "attributes", role: "table", "aria-label": "Attributes"});
    this.title = element("summary", {}, "Attributes");
    this.element = element("div", {class: "instance"},
      element("div", {class: "picture"}, this.image, this.text, this.choose),
      element("details", {}, this.title, element("div",
        {class: "tall", role: "group", "aria-label": "List of attributes", tabindex: "0"}, this.table)));
  }

  async load() {
    if (this.loaded === this.digest) {
      return;
    }
    this.loaded = this.digest;
    try {
      const found = await fetchJson("/emulator/instance", this.query);
      this.showAttributes(found);
      this.frames = found.frames;
      setText(this.of, `of ${number(found.frames)}`);
      this.input.max = String(found.frames);
      this.choose.hidden = found.frames < 2;
      if (found.frames) {
        await this.show(1);
      } else {
        this.fail(`There is no image: ${found.reason}.`);
      }
    } catch (error) {
      this.loaded = null;
      this.fail(error.message);
    }
  }

  async show(frame) {
    this.frame = Math.min(Math.max(1, Math.trunc(frame) || 1), this.frames);
    this.input.value = String(this.frame);
    const wanted = this.frame;
    try {
      const query = new URLSearchParams({...this.query, frame: wanted});
      const signal = AbortSignal.timeout(RENDERING_LIMIT);
      const answer = await fetch(`/emulator/rendered?${query}`, {cache: "no-store", signal});
      if (!answer.ok) {
        throw new Error((await answer.json()).error.message);
      }
      const blob = await answer.blob();
      if (wanted === this.frame) {
        this.showImage(blob);
      }
    } catch (error) {
      this.fail(`The image cannot be shown: ${error.message}`);
    }
  }

  showImage(blob) {
    const before = this.address;
    this.address = URL.createObjectURL(blob);
    this.image.onload = () => before && URL.revokeObjectURL(before);
    this.image.src = this.address;
    this.image.alt = `Frame ${this.frame} of ${this.frames}, rendered`;
    this.image.hidden = false;
    setText(this.text, "");
  }

  fail(text) {
    this.image.hidden = true;
    setText(this.text, text);
  }

  showAttributes({attributes, more}) {
    const heads = ["Tag", "VR", "Name", "Value"].map((title) =>
      element("th", {scope: "col", role: "columnheader"}, title));
    const rows = attributes.map(({tag, vr, name, value}) => element("tr", {role: "row"},
      ...[[tag, "code"], [vr, "code"], [name, "name"], [value, "value"]].map(([text, kind]) =>
        element("td", {role: "cell", class: kind}, text))));
    this.table.replaceChildren(
      element("thead", {role: "rowgroup"}, element("tr", {role: "row"}, ...heads)),
      element("tbody", {role: "rowgroup"}, ...rows));
    setText(this.title, `Attributes (${attributes.length}${more ? ", and more" : ""})`);
  }
}

export function makeStores(parent) {
  const list = new List(STORES, {}, "DICOM stores");
  parent.append(list.element);
  return list;
}

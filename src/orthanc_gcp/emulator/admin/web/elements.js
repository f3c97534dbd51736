// What the parts of the page are made of. Whatever came with DICOM files or requests becomes text,
// never HTML.

const MAX_TEXT = 300;
const TIME_LIMIT = 30000;
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
  result.append(...children);
  return result;
}

export function button(text, attributes, action) {
  const result = element("button", {type: "button", ...attributes}, text);
  result.addEventListener("click", () => {
    if (result.getAttribute("aria-disabled") !== "true") {
      action();
    }
  });
  return result;
}

// A disabled button would lose the focus.
export function enable(control, isEnabled) {
  control.setAttribute("aria-disabled", String(!isEnabled));
}

export function setText(node, text) {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

export function shorten(text) {
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text;
}

// A path, which is broken after a slash where it can be.
export function breakable(text) {
  const result = document.createDocumentFragment();
  for (const piece of shorten(text).split(/(?<=[/:])/)) {
    result.append(piece, document.createElement("wbr"));
  }
  return result;
}

// A sentence with code in backquotes.
export function sentence(text) {
  const result = document.createDocumentFragment();
  text.split("`").forEach((piece, index) => {
    result.append(index % 2 ? element("code", {}, piece) : piece);
  });
  return result;
}

export function size(bytes) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  let amount = bytes;
  for (; amount >= 1000 && unit < units.length - 1; unit += 1) {
    amount /= 1000;
  }
  return `${unit ? amount.toFixed(1) : amount} ${units[unit]}`;
}

export async function fetchJson(path, query, options) {
  const address = query ? `${path}?${new URLSearchParams(query)}` : path;
  const signal = AbortSignal.timeout(TIME_LIMIT);
  const answer = await fetch(address, {cache: "no-store", signal, ...options});
  const text = await answer.text();
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // A page of somebody in between, perhaps.
  }
  if (!answer.ok || body === null) {
    throw new Error(body?.error?.message || `The answer was ${answer.status}.`);
  }
  return body;
}

// Roles are spelt out, since they are lost where tables are shown as cards.
export class Table {
  constructor(label, columns, kind) {
    this.columns = columns;
    const heads = columns.map(({title, kind: one}) =>
      element("th", {scope: "col", role: "columnheader", class: one || ""}, title));
    this.element = element("table", {role: "table", "aria-label": label, class: kind},
      element("thead", {role: "rowgroup"}, element("tr", {role: "row"}, ...heads)));
    this.rows = new Map();
    this.empty = element("p", {class: "empty"});
    this.whole = element("div", {class: "table"}, this.element, this.empty);
  }

  // Shows items in their order. Rows that are there already stay where they are, with their focus;
  // those of items that are gone stay only while ``isKept`` says so.
  show(items, keyOf, makeRow, {otherwise, isKept = () => false}) {
    const keys = new Set(items.map(keyOf));
    for (const [key, row] of this.rows) {
      if (!keys.has(key) && !isKept(row)) {
        row.element.remove();
        this.rows.delete(key);
      }
    }
    let next = this.element.tHead.nextElementSibling;
    for (const item of items) {
      const key = keyOf(item);
      let row = this.rows.get(key);
      if (!row) {
        row = makeRow(item, this.columns);
        this.rows.set(key, row);
      }
      row.update(item);
      if (row.element === next) {
        next = next.nextElementSibling;
      } else {
        this.element.insertBefore(row.element, next);
      }
    }
    setText(this.empty, items.length ? "" : otherwise);
  }
}

// A row that opens to more; both are in a table body of their own.
export class Row {
  constructor(columns, {label, makeContent}) {
    this.columns = columns;
    this.makeContent = makeContent;
    this.content = null;
    const id = newId();
    this.label = element("span", {class: "label"});
    this.toggle = button("", {class: "toggle", "aria-expanded": "false", "aria-controls": id},
      () => this.open(!this.isOpen));
    this.toggle.append(this.label);
    this.cells = columns.map(({title, kind}, index) => {
      const cell = element("td", {role: "cell", class: kind || "", "data-title": title});
      if (index === label) {
        cell.append(this.toggle);
      }
      return cell;
    });
    this.labelIndex = label;
    this.inside = element("td", {role: "cell", colspan: String(columns.length), class: "inside"});
    this.details = element("tr", {role: "row", id, hidden: ""}, this.inside);
    this.element = element("tbody", {role: "rowgroup"},
      element("tr", {role: "row"}, ...this.cells), this.details);
  }

  get isOpen() {
    return this.toggle.getAttribute("aria-expanded") === "true";
  }

  get hasFocus() {
    return this.element.contains(document.activeElement);
  }

  // A text, or something that is made anew with each text.
  setCell(index, text, make = null) {
    const target = index === this.labelIndex ? this.label : this.cells[index];
    if (target.dataset.shown !== text) {
      target.dataset.shown = text;
      target.replaceChildren(make ? make(text) : shorten(text));
    }
  }

  async open(isOpen) {
    this.toggle.setAttribute("aria-expanded", String(isOpen));
    this.details.hidden = !isOpen;
    this.element.classList.toggle("open", isOpen);
    if (isOpen) {
      if (!this.content) {
        this.content = this.makeContent();
        this.inside.replaceChildren(this.content.element);
      }
      await this.content.load();
    }
  }
}

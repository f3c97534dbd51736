// The last requests, each of which opens to its head.

import {Row, Table, breakable, element, fetchJson, setText} from "./elements.js";

const COLUMNS = [
  {title: "Time", kind: "time"},
  {title: "Method", kind: "method"},
  {title: "Status", kind: "number status"},
  {title: "ms", kind: "number duration"},
  {title: "Path", kind: "main path"},
];

class Head {
  constructor(number) {
    this.number = number;
    this.isLoaded = false;
    this.problem = element("p", {class: "problem", role: "alert"});
    this.parts = element("div", {class: "heads"});
    this.element = element("div", {class: "list"}, this.problem, this.parts);
  }

  async load() {
    if (this.isLoaded) {
      return;
    }
    try {
      const {request, answer} = await fetchJson("/emulator/request", {number: this.number});
      this.isLoaded = true;
      this.parts.append(headers("Request headers", request), headers("Answer headers", answer));
      setText(this.problem, "");
    } catch (error) {
      setText(this.problem, error.message);
    }
  }
}

function headers(title, pairs) {
  const list = element("dl");
  for (const [name, value] of pairs) {
    list.append(element("dt", {}, name), element("dd", {}, value));
  }
  const content = pairs.length ? list : element("p", {class: "empty"}, "None.");
  return element("div", {}, element("h3", {}, title), content);
}

function makeRow(request) {
  const row = new Row(COLUMNS, {label: 4, makeContent: () => new Head(request.number)});
  const time = new Date(request.time * 1000).toLocaleTimeString([], {hour12: false});
  const isGood = request.status >= 200 && request.status < 400;
  row.setCell(0, time);
  row.setCell(1, request.method);
  row.setCell(2, request.status ? String(request.status) : "none");
  row.setCell(3, request.milliseconds.toFixed(1));
  row.setCell(4, request.path, breakable);
  row.cells[2].classList.add(isGood ? "good" : "bad");
  row.update = () => {};
  return row;
}

// After a reset, numbers begin anew.
const keyOf = ({number, time}) => `${number}/${time}`;

export function makeRequests(parent) {
  const table = new Table("Recent requests", COLUMNS, "requests");
  parent.append(table.whole);
  let last = null;
  return {
    // Returns whether there was anything new.
    show(requests) {
      const key = requests.length ? keyOf(requests[0]) : "";
      const isNew = key !== last;
      last = key;
      if (isNew) {
        table.show(requests, keyOf, makeRow, {
          otherwise: "Nothing was asked yet.",
          isKept: (row) => row.isOpen || row.hasFocus,
        });
      }
      return isNew;
    },
  };
}

// The fault settings: each with its sentence, its unit and a control of its kind.

import {button, element, enable, fetchJson, newId, sentence, setText} from "./elements.js";

const NOTHING = "null";

// How a value of JSON, as a text, is shown in a control, and how it is read again.
const KINDS = {
  switch: {
    make: () => element("input", {type: "checkbox", role: "switch"}),
    show: (control, text) => { control.checked = text === "true"; },
    read: (control) => String(control.checked),
  },
  choice: {
    make: ({choices}) => element("select", {}, ...choices.map((text) => {
      const label = text === NOTHING ? "none" : String(JSON.parse(text));
      return element("option", {value: text}, label);
    })),
    show: (control, text) => { control.value = text; },
    read: (control) => control.value,
  },
  number: {
    make: ({at_first: first}) => element("input", {
      type: "number", step: "any", autocomplete: "off", placeholder: first === NOTHING ? "none" : "",
    }),
    show: (control, text) => { control.value = text === NOTHING ? "" : text; },
    read: (control, {at_first: first}) => {
      if (control.validity.badInput || (!control.value && first !== NOTHING)) {
        throw new Error("A number is expected.");
      }
      return control.value ? numberInJson(control.value) : NOTHING;
    },
  },
  list: {
    make: () => area(),
    show: (control, text) => { control.value = JSON.parse(text).join("\n"); },
    read: (control) =>
      JSON.stringify(control.value.split("\n").map((line) => line.trim()).filter(Boolean)),
  },
  json: {
    make: () => area(),
    show: (control, text) => { control.value = text.length > 40 ? pretty(text) : text; },
    read: (control) => {
      try {
        JSON.parse(control.value);
      } catch (error) {
        throw new Error(`This is not JSON: ${error.message}`);
      }
      return control.value;
    },
  },
};

// Large numbers stay as they are written: JavaScript would round them.
function numberInJson(text) {
  try {
    JSON.parse(text);
    return text;
  } catch {
    return String(Number(text)); // .5 and 007 are not JSON
  }
}

function area() {
  return element("textarea", {rows: "1", spellcheck: "false", autocomplete: "off"});
}

function pretty(text) {
  return JSON.stringify(JSON.parse(text), null, 1).replace(/\n\s*/g, (gap) =>
    (gap.length > 3 ? " " : gap));
}

class Setting {
  constructor(about, send) {
    this.about = about;
    this.send = send;
    this.kind = KINDS[about.control];
    this.isImmediate = about.control === "switch" || about.control === "choice";
    this.current = null;
    this.shown = null;
    this.makeElements();
    this.listen();
  }

  makeElements() {
    const {name, unit, at_first: first} = this.about;
    const [id, text, unitId, problem] = [newId(), newId(), newId(), newId()];
    this.control = this.kind.make(this.about);
    this.control.id = id;
    this.control.setAttribute("aria-describedby", `${text} ${unitId} ${problem}`);
    this.problem = element("p", {class: "problem", id: problem, role: "alert"});
    this.apply = element("button", {"aria-label": `Apply ${name}`, hidden: ""}, "Apply");
    this.discard = button("Discard", {"aria-label": `Discard what is written for ${name}`,
      hidden: ""}, () => this.show(this.current, true));
    this.back = button("Reset", {"aria-label": `Reset ${name} to ${first}`, hidden: ""},
      () => this.set(first));
    const shownFirst = first === NOTHING ? "none" : first === "[]" ? "empty" : first;
    this.badge = element("span", {class: "badge", hidden: ""}, `changed; at first ${shownFirst}`);
    this.element = element("form", {class: `setting of-${this.about.control}`},
      element("div", {class: "title"}, element("label", {for: id}, name), this.badge),
      element("p", {class: "about", id: text}, sentence(this.about.sentence)),
      element("div", {class: "control"}, this.control,
        element("span", {class: "unit", id: unitId}, sentence(unit)),
        this.apply, this.discard, this.back),
      this.problem);
  }

  listen() {
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.control.addEventListener("input", () => this.showButtons());
    this.control.addEventListener("change", () => this.isImmediate && this.submit());
    this.control.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        this.submit();
      } else if (event.key === "Escape" && this.isEdited) {
        this.show(this.current, true);
      }
    });
  }

  // Rules count while they apply: that must not undo what somebody is writing.
  get isEdited() {
    return !this.isImmediate && this.shown !== null && this.control.value !== this.shown;
  }

  get isChanged() {
    return this.current !== this.about.at_first;
  }

  show(text, anyway = false) {
    if (anyway || (text !== this.current && !this.isEdited)) {
      this.kind.show(this.control, text);
      this.shown = this.control.value;
      setText(this.problem, "");
      this.control.removeAttribute("aria-invalid");
      if (this.control.localName === "textarea") {
        this.control.rows = Math.min(12, this.control.value.split("\n").length);
      }
    }
    this.current = text;
    this.element.classList.toggle("marked", this.isChanged);
    this.badge.hidden = !this.isChanged;
    this.showButtons();
  }

  showButtons() {
    const buttons = [this.apply, this.discard, this.back];
    const focused = buttons.find((one) => one === document.activeElement);
    this.apply.hidden = this.isImmediate || !this.isEdited;
    this.discard.hidden = this.isImmediate || !this.isEdited;
    this.back.hidden = !this.isChanged || this.isEdited;
    if (focused?.hidden) {
      this.control.focus();
    }
  }

  submit() {
    try {
      return this.set(this.kind.read(this.control, this.about));
    } catch (error) {
      this.fail(error.message);
      return null;
    }
  }

  async set(text) {
    try {
      await this.send(new Map([[this, text]]));
    } catch (error) {
      if (this.isImmediate) {
        this.show(this.current, true);
      }
      this.fail(error.message);
    }
  }

  fail(message) {
    this.control.setAttribute("aria-invalid", "true");
    setText(this.problem, message);
  }
}

export class Settings {
  constructor(parent) {
    this.parent = parent;
    this.all = new Map();
    this.changes = 0;
    this.summary = document.getElementById("changed");
    this.problem = document.getElementById("settings-problem");
    this.reset = document.getElementById("reset-settings");
    this.reset.addEventListener("click", () => this.resetAll());
  }

  get changed() {
    return [...this.all.values()].filter((setting) => setting.isChanged);
  }

  async load() {
    const {settings} = await fetchJson("/emulator/settings");
    const areas = new Map();
    for (const about of settings) {
      if (!areas.has(about.area)) {
        const id = newId();
        areas.set(about.area, element("section", {class: "area", "aria-labelledby": id},
          element("h3", {id}, about.area)));
      }
      const setting = new Setting(about, (changes) => this.send(changes));
      areas.get(about.area).append(setting.element);
      this.all.set(about.name, setting);
    }
    this.parent.replaceChildren(...areas.values());
  }

  // Sets settings to values of JSON, as texts: all or none.
  async send(changes) {
    const members = [...changes].map(([{about}, text]) => `${JSON.stringify(about.name)}: ${text}`);
    await fetchJson("/emulator/state", null, {method: "PATCH", body: `{${members.join(", ")}}`});
    this.changes += 1;
    const {settings} = await fetchJson("/emulator/overview");
    for (const setting of changes.keys()) {
      setting.show(settings[setting.about.name], true);
    }
    this.show(settings);
  }

  show(values) {
    for (const [name, setting] of this.all) {
      setting.show(values[name]);
    }
    const count = this.changed.length;
    setText(this.summary, count === 0 ? "Nothing is broken: every setting is as at first."
      : count === 1 ? "1 setting is not as at first." : `${count} settings are not as at first.`);
    enable(this.reset, count > 0);
  }

  async resetAll() {
    try {
      if (this.changed.length) {
        await this.send(new Map(this.changed.map((one) => [one, one.about.at_first])));
      }
      setText(this.problem, "");
    } catch (error) {
      setText(this.problem, error.message);
    }
  }
}

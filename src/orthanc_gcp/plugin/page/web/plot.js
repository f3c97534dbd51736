// Rate and backlog of the last day: two lines, each as high as its own most, which stands below.

import {element} from "./elements.js";
import {number, size, word} from "./words.js";

const SVG = "http://www.w3.org/2000/svg"; // a name, which nobody asks for
const [WIDTH, HEIGHT] = [288, 60];
const DAY = 86400000;

function shape(name, attributes, ...children) {
  const result = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    result.setAttribute(key, value);
  }
  result.append(...children);
  return result;
}

// A step without the one before it begins a new line: nothing is known of the time between.
function path(steps, valueOf, most, end, stepSeconds) {
  return steps.map((step, place) => {
    const x = WIDTH * (1 - (end - step.at) / DAY);
    const y = (HEIGHT - 2) * (1 - valueOf(step) / most) + 1;
    const goesOn = place && step.Seconds <= stepSeconds;
    return `${goesOn ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
  }).join("");
}

const largest = (steps, valueOf) => steps.reduce((most, one) => Math.max(most, valueOf(one)), 0);

function legend(kind, text) {
  return element("li", {},
    element("span", {class: `swatch ${kind}`, "aria-hidden": "true"}), text);
}

// The last day, as a picture for the eye and its figures in words; null while nothing is known.
export function plot({Steps: found, StepSeconds: stepSeconds}) {
  const steps = found
    .map((one) => ({...one, at: Date.parse(one.Time)}))
    .filter((one) => Number.isFinite(one.at));
  if (steps.length < 2) {
    return null;
  }
  const end = steps.at(-1).at;
  const [rateOf, unsentOf] = [(one) => one.BytesPerSecond, (one) => one.UnsentInstances];
  const [rate, unsent] = [largest(steps, rateOf), largest(steps, unsentOf)];
  const line = (kind, valueOf, most) => shape("path", {
    class: kind, d: path(steps, valueOf, most || 1, end, stepSeconds),
  });
  const picture = shape(
    "svg",
    {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true"},
    line("unsent", unsentOf, unsent), line("rate", rateOf, rate));
  return element("figure", {class: "plot"},
    element("figcaption", {}, word("last day")),
    picture,
    element("ul", {class: "states"},
      legend("rate", word("most rate", {most: size(rate), now: size(rateOf(steps.at(-1)))})),
      legend("unsent", word("most unsent", {
        most: number(unsent), now: number(unsentOf(steps.at(-1))),
      }))));
}

// The words of the page, from one file for each language, and how numbers and times are written.

const LANGUAGES = ["en", "de", "fr"];
const MEMORY = "orthanc-gcp-language";
let words = {};
export let language = "en";
let locale = "en"; // how the browser's user writes numbers and times in that language

function preferred() {
  let chosen = null;
  try {
    chosen = localStorage.getItem(MEMORY);
  } catch {
    // The browser keeps nothing for this page: its own languages count.
  }
  const wanted = [chosen, ...navigator.languages.map((one) => one.slice(0, 2).toLowerCase())];
  return wanted.find((one) => LANGUAGES.includes(one)) || "en";
}

export async function loadWords() {
  language = preferred();
  locale = navigator.languages.find((one) => one.slice(0, 2).toLowerCase() === language) || language;
  const answer = await fetch(new URL(`${language}.json`, import.meta.url));
  words = await answer.json();
  document.documentElement.lang = language;
}

export function choose(chosen) {
  try {
    localStorage.setItem(MEMORY, chosen);
  } catch {
    // It holds until the page is opened again.
  }
  location.reload();
}

// The words for something, with values in the place of their {names}.
export function word(key, values = {}) {
  const text = Object.hasOwn(words, key) ? words[key] : key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    return typeof value === "number" ? number(value) : String(value ?? whole);
  });
}

export function number(value) {
  return new Intl.NumberFormat(locale, {maximumFractionDigits: 1}).format(value);
}

export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  let amount = bytes;
  for (; amount >= 1000 && unit < units.length - 1; unit += 1) {
    amount /= 1000;
  }
  return `${number(amount)} ${units[unit]}`;
}

export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [days, hours, minutes] = [86400, 3600, 60].map((unit) => Math.floor(whole / unit));
  if (days) {
    return `${number(days)} ${word("days")} ${hours % 24} h`;
  }
  if (hours) {
    return `${hours} h ${minutes % 60} min`;
  }
  return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

export function moment(text) {
  const time = new Date(text);
  const format = {dateStyle: "medium", timeStyle: "medium"};
  return Number.isNaN(time.getTime()) ? String(text) : time.toLocaleString(locale, format);
}

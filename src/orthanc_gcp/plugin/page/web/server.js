// What Orthanc is asked: the routes under /gcp, wherever a proxy has put them.

import {word} from "./words.js";

const ROOT = new URL("../", import.meta.url);
const TIME_LIMIT = 20000;
const LONG = 150000; // checks, and what is sent on demand

// A path is a list of its parts; with a body it is a POST.
export async function ask(path, {query = {}, body = null} = {}) {
  const address = new URL(path.map(encodeURIComponent).join("/"), ROOT);
  const given = Object.entries(query).filter(([, value]) => value);
  address.search = given.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
  const options = body === null ? {} : {method: "POST", body: JSON.stringify(body)};
  return await fetchJson(address, options);
}

// The studies, or the series, in Orthanc with a UID, by Orthanc's own identifiers.
export async function findInOrthanc(uid, type = "Study") {
  const address = new URL("../tools/lookup", ROOT);
  const found = await fetchJson(address, {method: "POST", body: uid});
  const named = found.filter((one) => one.Type === type).map((one) => one.ID);
  if (!named.length) {
    throw new Error(word("not in Orthanc"));
  }
  return named;
}

// The Study Instance UID of a study, or of the study of a series, by Orthanc's own identifier.
export async function studyOf(identifier) {
  const get = (path) => fetchJson(new URL(`../${path}`, ROOT), {});
  const name = encodeURIComponent(identifier);
  const found = await get(`studies/${name}`).catch((error) => {
    if (error.status !== 404) {
      throw error;
    }
    return get(`series/${name}/study`);
  });
  return found.MainDicomTags.StudyInstanceUID;
}

export function inOrthanc(identifier) {
  const address = new URL("../app/explorer.html", ROOT);
  address.hash = `instance?uuid=${encodeURIComponent(identifier)}`;
  return address.href;
}

async function fetchJson(address, options) {
  const signal = AbortSignal.timeout(options.method ? LONG : TIME_LIMIT);
  let answer = null;
  let text = "";
  try {
    answer = await fetch(address, {cache: "no-store", signal, ...options});
    text = await answer.text();
  } catch {
    throw new Error(word("no answer"));
  }
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // A page of somebody in between, perhaps.
  }
  if (!answer.ok || body === null) {
    const error = new Error(explain(body, answer.status));
    error.body = body;
    error.status = answer.status;
    throw error;
  }
  return body;
}

function explain(body, status) {
  if (status === 401 || status === 403) {
    return body?.Message || word("not allowed");
  }
  return body?.Message || body?.LastError?.Message || word("answer was", {status: String(status)});
}

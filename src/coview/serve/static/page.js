// What every page uses: elements, requests to the server, and the address, which holds everything that a link repeats.

export function element(name, fields = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(fields)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && !key.startsWith("aria")) made[key] = value;
    else if (value !== undefined && value !== null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export class Refused extends Error {
  constructor(status, error, hint) {
    super(hint ? `${error}: ${hint}` : error);
    this.status = status;
  }
}

export const about = {};

export async function ask(path, body, method, headers = {}) {
  const raw = body instanceof Blob;
  const options = body === undefined ? { method: method ?? "GET" } : { method: method ?? "POST", body: raw ? body : JSON.stringify(body) };
  options.headers = { ...headers };
  if (options.method !== "GET") options.headers["X-Coview"] = "1";
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused(0, "the server does not answer", "is coview serve still running?");
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    const refused = new Refused(answer.status, said.error ?? `error ${answer.status}`, said.hint);
    if (answer.status === 409 && said.hint === "reload the page") changed();
    throw refused;
  }
  return answer;
}

export async function data(path, body, method) {
  return (await ask(path, body, method)).json();
}

export function media(row, kind, more = "") {
  return `/media/${row}${kind ? `/${kind}` : ""}?c=${about.fingerprint}${more}`;
}

function changed() {
  notice("The collection was changed on disk.", element("button", { onclick: () => location.reload() }, "Load it again"));
}

export function notice(text, ...more) {
  const place = document.getElementById("notice");
  place.hidden = !text;
  place.replaceChildren(text, ...more);
}

export function address() {
  return new URLSearchParams(location.search);
}

export function link(fields) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(fields)) {
    for (const each of Array.isArray(value) ? value : [value]) if (each !== null && each !== undefined && each !== "") found.append(name, each);
  }
  return `/?${found}`;
}

export function go(url, replace = false) {
  history[replace ? "replaceState" : "pushState"](null, "", url);
  if (!replace) dispatchEvent(new Event("popstate"));
}

// Links of ours change the page without loading it anew.
export function follow(event) {
  const found = event.target.closest("a[href^='/?']");
  if (!found || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(found.getAttribute("href"));
}

export function clock(seconds) {
  if (!(seconds > 0)) return "";
  const whole = Math.floor(seconds);
  const part = (number) => String(number).padStart(2, "0");
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const hours = Math.floor(whole / 3600);
  return `${hours ? `${hours}:${part(Math.floor(whole / 60) % 60)}` : Math.floor(whole / 60)}:${part(whole % 60)}`;
}

export const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

// What a search is asked with: files that are chosen or dropped, the microphone, words; parts with weights; directions.
import { about, ask, clock, element, go, media, notice } from "./page.js";
import { chosen, part, parts, searching, weighted } from "./query.js";

const LONGEST = 30; // s of a sound from the microphone
const WEIGHTS = [[2, "twice"], [1, "once"], [0.5, "half"], [-0.5, "half away"], [-1, "away from it"]];

export function panel(asked, tiles) {
  const said = element("p", { className: "faint", role: "status" });
  const own = parts(asked);
  const add = (text) => go(searching({ part: [...asked.getAll("part"), text], more: null, less: null, k: null }, asked));
  const send = async (content, name) => {
    if (content.size > about.search.most) {
      said.textContent = `${name} is larger than ${Math.floor(about.search.most / 2 ** 20)} MB (--max-upload-mb).`;
      return;
    }
    said.textContent = `Listening to and looking at ${name} …`;
    try {
      const found = await (await ask("/api/queries", content, "PUT")).json();
      notice("");
      add(part("file", found.query, name.slice(0, 80)));
    } catch (error) {
      said.textContent = `${name}: ${error.message}`;
    }
  };
  const ways = [];
  if (about.search.files) {
    const file = element("input", { type: "file", accept: "audio/*,video/*,image/*,.mkv,.flac,.opus", className: "hidden", tabIndex: -1, "aria-hidden": "true", onchange: () => file.files[0] && send(file.files[0], file.files[0].name) });
    ways.push(file, element("button", { type: "button", "data-key": "file", onclick: () => file.click() }, "Choose a file"), microphone(send, said));
  }
  if (about.search.words) {
    const words = element("input", { type: "search", "aria-label": "Words to search by", placeholder: "Words", maxLength: 1000, "data-key": "ask" });
    ways.push(element("form", { onsubmit: (event) => { event.preventDefault(); if (words.value.trim()) add(part("words", words.value.trim())); } }, words));
  }
  const dropped = (event) => {
    event.preventDefault();
    made.classList.remove("over");
    const found = event.dataTransfer.files[0];
    if (found) send(found, found.name);
  };
  const made = element("section", { className: "ask", "aria-label": "What is asked",
    ondragover: (event) => { event.preventDefault(); made.classList.add("over"); }, ondragleave: () => made.classList.remove("over"), ondrop: dropped },
    own.length ? element("ul", { className: "parts", "aria-label": "Parts of the query" }, ...own.map((each, number) => chip(asked, each, number, tiles[number]))) : null,
    element("div", { className: "bar" }, ...ways, about.search.files ? element("span", { className: "faint wide" }, "or drop one here") : null, own.length ? element("button", { type: "button", "data-key": "over", onclick: () => go(searching({ part: null, more: null, less: null, k: null }, asked)) }, "Start over") : null),
    element("div", { className: "bar" }, direction(asked, "by", "By its"), direction(asked, "find", "Find")), said);
  return made;
}

function chip(asked, each, number, tile) {
  const all = parts(asked).map((one) => one.text);
  const change = (text) => go(searching({ part: all.toSpliced(number, 1, ...(text ? [text] : [])), more: text ? asked.getAll("more") : null, less: text ? asked.getAll("less") : null }, asked));
  const title = each.kind === "words" ? `“${each.name}”` : (tile?.id ?? each.name ?? `row ${each.row}`) + (each.span ? `, ${each.span.map((end) => end.toFixed(1)).join(" to ")} s` : "");
  const picture = tile?.has_video ? element("img", { alt: "", src: media(each.row, "poster") }) : null;
  const weight = element("select", { "aria-label": `Weight of ${title}`, "data-key": `weight ${number}`, onchange: (event) => change(weighted(each, Number(event.target.value))) });
  const known = WEIGHTS.some(([value]) => value === each.weight) ? WEIGHTS : [...WEIGHTS, [each.weight, `${each.weight} times`]];
  for (const [value, text] of known) weight.append(element("option", { value, selected: value === each.weight }, text));
  return element("li", {}, picture, element("span", {}, title), weight, element("button", { type: "button", "aria-label": `Remove ${title}`, "data-key": `remove ${number}`, onclick: () => change(null) }, "×"));
}

function direction(asked, what, title) {
  const on = chosen(asked, what);
  const buttons = about.search[what].map(({ name, title: text }) => element("button", { type: "button", "aria-pressed": String(on.includes(name)), "data-key": `${what} ${name}`, onclick: () => {
    const next = on.includes(name) ? on.filter((each) => each !== name) : [...on, name];
    go(searching({ [what]: next.length ? next : null, more: asked.getAll("more"), less: asked.getAll("less") }, asked)); // none is all
  } }, what === "find" && (text === "picture" || text === "sound") ? `${text}s` : text));
  return element("span", { className: "direction", role: "group", "aria-label": title }, `${title} `, ...buttons);
}

// The sound as it is: what browsers do for calls (echo, noise, loudness) would change it.
function microphone(send, said) {
  const button = element("button", { type: "button", "data-key": "microphone" }, "Record a sound");
  if (!navigator.mediaDevices?.getUserMedia || !globalThis.MediaRecorder) {
    button.disabled = true;
    button.title = "Browsers give the microphone to pages on this computer (127.0.0.1) alone";
    return button;
  }
  let recorder = null;
  button.addEventListener("click", async () => {
    if (recorder) { recorder.stop(); return; }
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
    } catch (error) {
      said.textContent = error.name === "NotAllowedError" ? "The browser was not allowed to use the microphone." : `There is no microphone to record with (${error.name}).`;
      return;
    }
    const pieces = [], begun = performance.now();
    recorder = new MediaRecorder(stream);
    const tick = setInterval(() => {
      const seconds = (performance.now() - begun) / 1000;
      said.textContent = `Recording: ${clock(Math.max(0.1, seconds))}`;
      if (seconds > LONGEST || !button.isConnected) recorder?.stop();
    }, 200);
    recorder.addEventListener("dataavailable", (event) => pieces.push(event.data));
    recorder.addEventListener("stop", () => {
      clearInterval(tick);
      for (const track of stream.getTracks()) track.stop();
      const type = recorder.mimeType;
      recorder = null;
      button.textContent = "Record a sound";
      button.setAttribute("aria-pressed", "false");
      if (button.isConnected) send(new Blob(pieces, { type }), "the microphone’s sound");
    });
    recorder.start();
    button.textContent = "Stop and search";
    button.setAttribute("aria-pressed", "true");
  });
  return button;
}

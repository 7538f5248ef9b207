// A recording as a tile: its poster or its sound's shape; resting on it plays it, one at a time, muted.
import { clock, data, element, link, media } from "./page.js";
import { draw } from "./wave.js";

const REST = 250; // ms before a tile plays
let playing = null;

export function tile(entry, fields = {}) {
  const look = element("div", { className: "look" });
  const second = entry.second ?? null;
  if (entry.has_video) {
    const picture = element("img", { alt: "", loading: "lazy", src: media(entry.row, "poster") });
    picture.addEventListener("error", () => picture.replaceWith(element("span", { className: "faint" }, "cannot be shown")), { once: true });
    look.append(picture);
  } else {
    const canvas = element("canvas", { width: 320, height: 160 });
    look.append(canvas);
    shape(canvas, entry.row);
  }
  if (entry.duration > 0) look.append(element("span", { className: "time" }, clock(entry.duration)));
  const said = entry.score ?? (entry.flags.length ? entry.flags.join(", ") : "");
  const title = element("div", { className: "title" }, entry.label ? element("b", {}, entry.label) : null, entry.label ? " " : null, entry.id, said ? element("span", { className: "faint" }, ` ${said}`) : null);
  const made = element("a", { className: "tile", href: link({ page: "recording", row: entry.row, at: second }), ...fields }, look, title);
  made.setAttribute("aria-label", [entry.label, entry.id, entry.kind, clock(entry.duration), said].filter(Boolean).join(", "));
  if (entry.has_video && entry.duration > 0) {
    let timer;
    made.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") timer = setTimeout(() => play(look, entry, second), REST); });
    made.addEventListener("pointerleave", () => { clearTimeout(timer); stop(); });
  }
  return made;
}

async function shape(canvas, row) {
  try {
    const answer = await fetch(media(row, "peaks", "&points=160"));
    if (answer.ok) draw(canvas, new Int8Array(await answer.arrayBuffer()));
  } catch { /* the tile stays empty; the recording's own page says why */ }
}

async function play(look, entry, second) {
  stop();
  const mine = (playing = { video: null });
  try {
    const how = await data(media(entry.row, "play"));
    if (playing !== mine) return;
    const video = element("video", { muted: true, loop: true, playsInline: true, src: media(entry.row, how.direct ? "" : "proxy") });
    video.setAttribute("aria-hidden", "true");
    video.tabIndex = -1;
    video.addEventListener("loadedmetadata", () => { if (second) video.currentTime = second; }, { once: true });
    mine.video = video;
    look.append(video);
    await video.play();
  } catch { if (playing === mine) stop(); }
}

function stop() {
  playing?.video?.remove();
  playing = null;
}

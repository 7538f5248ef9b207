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
  const made = element("a", { className: "tile", href: link({ page: "recording", row: entry.row, at: second, ...entry.more }), ...fields }, look, title);
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

// With sound only where somebody asked for this place; asked again, it stops.
export async function play(look, entry, second, loud = false) {
  const again = loud && playing?.look === look && playing.second === second;
  stop();
  if (again) return;
  const mine = (playing = { look, second, player: null });
  try {
    const how = await data(media(entry.row, "play"));
    if (playing !== mine) return;
    const player = element(entry.has_video ? "video" : "audio", { muted: !loud, loop: !loud, playsInline: true, src: media(entry.row, how.direct ? "" : "proxy") });
    player.setAttribute("aria-hidden", "true");
    player.tabIndex = -1;
    player.addEventListener("loadedmetadata", () => { if (second) player.currentTime = second; }, { once: true });
    mine.player = player;
    look.append(player);
    look.classList.add("playing");
    await player.play();
  } catch { if (playing === mine) stop(); }
}

function stop() {
  playing?.player?.remove();
  playing?.look.classList.remove("playing");
  playing = null;
}

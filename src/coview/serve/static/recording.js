// One recording: it plays, its sound is drawn, and everything that is known of it is said. One clock: the player's.
import { about, address, ask, clock, data, element, link, media, notice } from "./page.js";
import { like, parts, searching } from "./query.js";
import { seconds } from "./second.js";
import { wave } from "./wave.js";

export async function recording(main, wanted) {
  const asked = address(), row = asked.get("row");
  const found = await data(`/api/recordings/${row}?c=${about.fingerprint}`);
  if (!wanted()) return;
  main.className = "";
  const place = element("div", { className: "player" }, element("p", { className: "faint" }, "Preparing it …"));
  const back = (by, text) => Number(row) + by >= 0 && Number(row) + by < about.counts.recordings ? element("a", { href: link({ page: "recording", row: Number(row) + by }) }, text) : null;
  const second = element("section", { className: "player", "aria-label": "Which second" });
  main.replaceChildren(element("h1", {}, found.label ? `${found.label}: ` : "", found.id), found.caption ? element("p", {}, found.caption) : "", place,
    second, element("p", { className: "bar" }, back(-1, "Previous"), back(1, "Next"), element("a", { href: link({ page: "label", row }) }, "Label it")), facts(found));
  try {
    await (found.duration > 0 ? play(place, found, row, Number(asked.get("at") ?? found.start)) : still(place, found, row));
  } catch (error) {
    place.replaceChildren(element("p", { className: "bad" }, `It cannot be shown: ${error.message}`));
  }
  place.dataset.ready = "1";
  notice("");
  const player = place.querySelector("video, audio");
  if (!about.search) return;
  place.append(element("p", { className: "bar" }, element("a", { className: "action", href: like("row", row) }, "Search like this"), parts(asked).length ? element("a", { href: searching({}, asked) }, "Back to the hits") : null));
  if (player && parts(asked).length) seconds(second, player, row, found.end, asked); // the page is usable meanwhile
}

export function still(place, found, row) {
  place.replaceChildren(element("img", { src: media(row, "picture"), alt: found.caption || `The picture ${found.id}` }));
}

// `begun` gets the player before it has anything to play.
export async function play(place, found, row, at, begun = () => {}) {
  const how = await data(media(row, "play"));
  const player = element(found.has_video ? "video" : "audio", { controls: true, preload: "auto", playsInline: true });
  player.setAttribute("aria-label", found.id);
  const said = element("p", { className: "faint", role: "status" });
  const copy = (why) => {
    said.textContent = `This is a copy, made for the page: ${why}.` + (how.seconds < found.end ? ` It shows the first ${clock(how.seconds)}.` : "");
    player.src = media(row, "proxy");
  };
  // A browser may play the sound and show no picture without any error: what is promised is looked for.
  let direct = how.direct;
  const failed = () => { if (direct) { direct = false; copy("this browser does not play the file"); } else said.textContent = "This browser plays neither the file nor its copy."; };
  player.addEventListener("error", failed);
  player.addEventListener("loadedmetadata", () => { if (found.has_video && !player.videoWidth) failed(); else if (at) player.currentTime = at; });
  begun(player);
  if (direct) player.src = media(row); else copy(how.why);
  if (found.has_video) player.poster = media(row, "poster");
  place.replaceChildren(player, said); // it plays while the sound of a long recording is still being drawn
  const chosen = element("p", { className: "bar" });
  const note = (span, text = "") => chosen.replaceChildren(span ? `${span[0].toFixed(2)} to ${span[1].toFixed(2)} s, again and again` : text,
    ...(span && about.search?.files ? [element("a", { className: "action", href: like("span", row, span[0].toFixed(2), span[1].toFixed(2)) }, "Search like this span")] : []));
  let peaks = null;
  try {
    if (found.has_audio) peaks = new Int8Array(await (await ask(media(row, "peaks"))).arrayBuffer());
  } catch (error) {
    note(null, `Its sound cannot be drawn: ${error.message}`);
  }
  said.before(wave(player, found.end, peaks, note));
  said.after(chosen);
}

function facts(found) {
  const seen = found.has_video ? `${found.width} × ${found.height}` + (found.fps ? `, ${Math.round(found.fps * 100) / 100} frames a second` : "") + `, ${found.video_codec}` : "none";
  const heard = found.has_audio ? `${found.sample_rate} Hz, ${found.channels === 1 ? "one channel" : `${found.channels} channels`}, ${found.audio_codec}, peak ${found.peak?.toFixed(3) ?? "beyond numbers"}` : "none";
  const pairs = { Picture: seen, Sound: heard, Duration: found.duration ? `${found.duration.toFixed(2)} s` : "", Label: found.label, Split: found.split, Group: found.group, Flags: found.flags.join(", "), File: `${found.path}, ${found.bytes.toLocaleString("en")} bytes`, Row: String(found.row) };
  const list = Object.entries(pairs).filter(([, value]) => value).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
  return element("section", { "aria-label": "What is known of it" }, element("dl", { className: "facts" }, ...list));
}

// The shape of a sound, drawn from its peaks (int8 pairs), and a span of it that is chosen with the pointer or by keys.
import { clock, element } from "./page.js";

export function draw(canvas, pairs, from = 0, to = 1) {
  const paint = canvas.getContext("2d");
  const { width, height } = canvas;
  const count = pairs.length / 2;
  paint.clearRect(0, 0, width, height);
  paint.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--accent");
  if (!count) return;
  for (let x = 0; x < width; x++) {
    const first = Math.floor((from + ((to - from) * x) / width) * count);
    const last = Math.max(first + 1, Math.floor((from + ((to - from) * (x + 1)) / width) * count));
    let low = 0, high = 0;
    for (let k = first; k < last && k < count; k++) {
      low = Math.min(low, pairs[2 * k]);
      high = Math.max(high, pairs[2 * k + 1]);
    }
    const top = (0.5 - high / 254) * height;
    paint.fillRect(x, top, 1, Math.max(1, (0.5 - low / 254) * height - top));
  }
}

// The media element is the only clock: what is drawn follows it, and what is clicked sets it.
export function wave(player, seconds, peaks, chosen) {
  const canvas = element("canvas");
  const slider = element("div", { className: "wave", role: "slider", tabIndex: 0, "aria-label": "Place in the recording; arrow keys move, drag to choose a span", "aria-valuemin": 0, "aria-valuemax": Math.round(seconds * 10) / 10, "aria-valuenow": 0 }, canvas);
  let span = null, dragged = null;
  const width = () => (canvas.width = Math.max(1, Math.round(slider.clientWidth * devicePixelRatio)), canvas.height = Math.max(1, Math.round(slider.clientHeight * devicePixelRatio)), canvas.width);
  const paint = () => {
    const wide = width();
    if (peaks) draw(canvas, peaks, 0, peaks.length ? (seconds * 20) / (peaks.length / 2) : 1);
    const brush = canvas.getContext("2d");
    const style = getComputedStyle(document.documentElement);
    if (span) {
      brush.globalAlpha = 0.25;
      brush.fillStyle = style.getPropertyValue("--ink");
      brush.fillRect((span[0] / seconds) * wide, 0, ((span[1] - span[0]) / seconds) * wide, canvas.height);
      brush.globalAlpha = 1;
    }
    brush.fillStyle = style.getPropertyValue("--bad");
    brush.fillRect((player.currentTime / seconds) * wide - devicePixelRatio, 0, 2 * devicePixelRatio, canvas.height);
    slider.setAttribute("aria-valuenow", player.currentTime.toFixed(1));
    slider.setAttribute("aria-valuetext", clock(player.currentTime) || "0 s");
  };
  const at = (event) => {
    const box = slider.getBoundingClientRect();
    return Math.min(seconds, Math.max(0, ((event.clientX - box.left) / box.width) * seconds));
  };
  const choose = (found) => { span = found; chosen(span); paint(); };
  slider.addEventListener("pointerdown", (event) => { dragged = at(event); slider.setPointerCapture(event.pointerId); });
  slider.addEventListener("pointermove", (event) => {
    if (dragged !== null && Math.abs(at(event) - dragged) > seconds / 100) choose([Math.min(dragged, at(event)), Math.max(dragged, at(event))]);
  });
  slider.addEventListener("pointerup", (event) => {
    if (dragged === null) return;
    if (Math.abs(at(event) - dragged) <= seconds / 100) choose(null);
    player.currentTime = span ? span[0] : at(event);
    dragged = null;
  });
  slider.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity }[event.key];
    if (step !== undefined) player.currentTime = Math.min(seconds, Math.max(0, player.currentTime + (step * seconds) / 100));
    else if (event.key === " ") player.paused ? player.play() : player.pause();
    else if (event.key === "[") choose([player.currentTime, span && span[1] > player.currentTime ? span[1] : seconds]);
    else if (event.key === "]" && player.currentTime > (span?.[0] ?? 0)) choose([span?.[0] ?? 0, player.currentTime]);
    else if (event.key === "Escape") choose(null);
    else return;
    event.preventDefault();
  });
  const tick = () => {
    if (!slider.isConnected) return;
    if (span && !player.paused && player.currentTime >= span[1]) player.currentTime = span[0];
    if (!player.paused || player.seeking) paint();
    requestAnimationFrame(tick);
  };
  for (const name of ["seeked", "timeupdate", "loadedmetadata"]) player.addEventListener(name, paint);
  new ResizeObserver(paint).observe(slider);
  requestAnimationFrame(tick);
  return slider;
}

// Which second of a recording the query means: its likeness along the recording, drawn, and its best places to click.
import { data, element } from "./page.js";
import { body } from "./query.js";

export async function seconds(place, player, row, duration, asked) {
  place.replaceChildren(element("p", { className: "faint", role: "status" }, "Comparing every second with the query …"));
  let curves;
  try {
    ({ curves } = await data("/api/curve", { ...body(asked), row: Number(row) }));
  } catch (error) {
    place.replaceChildren(element("p", { className: "bad" }, `Which second it is cannot be said: ${error.message}`));
    return;
  }
  place.replaceChildren(element("h2", {}, "Which second is like the query"), ...curves.map((curve) => drawn(curve, player, duration)));
  place.dataset.ready = "1";
}

function drawn(curve, player, duration) {
  const canvas = element("canvas", { role: "img" });
  const go = (second) => { player.currentTime = second; player.play().catch(() => {}); };
  const best = places(curve);
  canvas.setAttribute("aria-label", `Likeness of its ${curve.title} along the recording, highest at ${best[0].toFixed(1)} s`);
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    go((duration * (event.clientX - box.left)) / box.width);
  });
  const paint = () => {
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * devicePixelRatio));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * devicePixelRatio));
    const brush = canvas.getContext("2d");
    brush.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--accent");
    curve.start.forEach((start, k) => { // each bar stands at the middle of its window
      const middle = start + curve.seconds / 2, step = (curve.start[k + 1] ?? start + (curve.start[k] - (curve.start[k - 1] ?? start - duration))) - start;
      const high = Math.max(0.02, curve.height[k]) * canvas.height;
      brush.fillRect(((middle - step / 2) / duration) * canvas.width, canvas.height - high, Math.max(1, (step / duration) * canvas.width - 1), high);
    });
  };
  new ResizeObserver(paint).observe(canvas);
  const buttons = best.map((second) => element("button", { type: "button", onclick: () => go(second) }, `${second.toFixed(1)} s`));
  return element("div", { className: "curve" }, canvas, element("p", { className: "bar" }, `By its ${curve.title}, most like it at `, ...buttons));
}

// The best three windows that do not overlap.
function places({ start, cosine, seconds }) {
  const order = [...start.keys()].sort((a, b) => cosine[b] - cosine[a]), found = [];
  for (const k of order) if (found.length < 3 && found.every((other) => Math.abs(other - start[k]) >= (seconds || 1))) found.push(start[k]);
  return found;
}

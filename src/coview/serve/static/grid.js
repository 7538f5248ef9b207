// A grid of any number of tiles, of which only those in sight exist.
import { about, element } from "./page.js";
import { like } from "./query.js";
import { tile } from "./tile.js";

const likeness = (entry) => (about.search ? element("a", { className: "like", href: like("row", entry.row), "aria-label": `Search like ${entry.id}` }, "Like this") : null);
const PAGE = 100; // rows asked for at a time
const TALLEST = 8e6; // pixels; browsers draw no taller element

export function grid(total, load) {
  const inner = element("div", { role: "list", "aria-label": "Recordings" });
  const outer = element("div", { className: "grid" }, inner);
  const pages = new Map(), tiles = new Map();
  let across = 1, wide = 160, high = 160, focused = 0;

  const page = (number) => {
    if (!pages.has(number)) {
      const found = { rows: null };
      found.done = load(number * PAGE, PAGE).then((rows) => { found.rows = rows; show(); }).catch(() => pages.delete(number));
      pages.set(number, found);
      if (pages.size > 40) pages.delete(pages.keys().next().value);
    }
    return pages.get(number).rows;
  };
  const height = () => Math.ceil(total / across) * high;
  const stretch = () => Math.max(1, (height() - outer.clientHeight) / Math.max(1, Math.min(height(), TALLEST) - outer.clientHeight));
  function show() {
    across = Math.max(2, Math.floor(outer.clientWidth / 190));
    wide = Math.floor(outer.clientWidth / across);
    high = Math.round(wide * 0.72) + 44;
    inner.style.height = `${Math.min(height(), TALLEST)}px`;
    const top = outer.scrollTop * stretch();
    const shift = outer.scrollTop - top;
    const first = Math.max(0, Math.floor(top / high) - 1) * across;
    const last = Math.min(total, (Math.ceil((top + outer.clientHeight) / high) + 1) * across);
    for (const [place, old] of tiles) if (place < first || place >= last) { old.remove(); tiles.delete(place); }
    for (let place = first; place < last; place++) {
      const entry = page(Math.floor(place / PAGE))?.[place % PAGE];
      if (!entry) continue;
      let item = tiles.get(place);
      if (!item) {
        const made = tile(entry, { tabIndex: place === focused ? 0 : -1 });
        item = element("div", { className: "cell", role: "listitem", "aria-setsize": total, "aria-posinset": place + 1 }, made, likeness(entry));
        made.addEventListener("focus", () => move(place, false));
        tiles.set(place, item);
        const after = [...tiles.keys()].filter((other) => other > place).sort((a, b) => a - b)[0];
        inner.insertBefore(item, after === undefined ? null : tiles.get(after));
      }
      const box = item.style;
      box.width = `${wide}px`;
      box.height = `${high}px`;
      box.left = `${(place % across) * wide}px`;
      box.top = `${Math.floor(place / across) * high + shift}px`;
    }
    if (tiles.size && ![...tiles.values()].some((item) => item.firstChild.tabIndex === 0)) tiles.values().next().value.firstChild.tabIndex = 0;
    outer.dataset.ready = tiles.size >= Math.min(total, last - first) ? "1" : "";
  }
  function move(place, focus = true) {
    focused = Math.min(total - 1, Math.max(0, place));
    for (const [other, item] of tiles) item.firstChild.tabIndex = other === focused ? 0 : -1;
    if (!focus) return;
    const top = Math.floor(focused / across) * high, now = outer.scrollTop * stretch();
    if (top < now || top + high > now + outer.clientHeight) outer.scrollTop = (top < now ? top : top + high - outer.clientHeight) / stretch();
    show();
    const number = Math.floor(focused / PAGE);
    (pages.get(number)?.done ?? Promise.resolve()).then(() => tiles.get(focused)?.firstChild.focus({ preventScroll: true }));
  }
  inner.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across, Home: -total, End: total, PageDown: 4 * across, PageUp: -4 * across };
    if (!(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    move(focused + steps[event.key]);
  });
  let asked = false;
  outer.addEventListener("scroll", () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; show(); });
  }, { passive: true });
  new ResizeObserver(show).observe(outer);
  return outer;
}

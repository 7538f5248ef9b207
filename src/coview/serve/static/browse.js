// All recordings as posters, filtered by what they are; the filters are the address.
import { about, address, clock, count, data, element, go, link, notice } from "./page.js";
import { grid } from "./grid.js";

const NAMES = { kind: "What it has", label: "Label", split: "Split", flags: "Flags", codec: "Codec" };
const SORTS = { id: "name", duration: "duration", label: "label", peak: "loudness" };

export function conditions(asked) {
  const where = Object.keys(NAMES).filter((name) => asked.has(name)).map((name) => ({ column: name, in: asked.getAll(name) }));
  if (asked.has("from")) where.push({ column: "duration", from: Number(asked.get("from")), to: Number(asked.get("to")) });
  if (asked.get("words")) where.push({ column: "words", has: asked.get("words") });
  return where;
}

export async function browse(main, wanted) {
  const asked = address();
  const where = conditions(asked), sort = asked.get("sort") ?? "id", down = asked.get("down") === "1";
  const rows = (offset, limit) => data("/api/rows", { c: about.fingerprint, where, sort, down, offset, limit });
  const [first, facets] = await Promise.all([rows(0, 100), data("/api/facets", { c: about.fingerprint, where })]);
  if (!wanted()) return; // another page was asked for meanwhile
  const load = async (offset, limit) => (offset === 0 ? first.rows : (await rows(offset, limit)).rows);
  main.className = "browse";
  const said = first.total === first.of ? count(first.of, "recording") : `${first.total.toLocaleString("en")} of ${count(first.of, "recording")}`;
  const order = element("select", { "aria-label": "Sorted by", "data-key": "sort", onchange: (event) => change(asked, "sort", event.target.value) });
  for (const [name, text] of Object.entries(SORTS)) order.append(element("option", { value: name, selected: name === sort }, text));
  const bar = element("div", { className: "bar" }, element("output", {}, said), element("label", {}, "Sorted by ", order),
    element("button", { type: "button", "aria-pressed": String(down), "data-key": "down", onclick: () => change(asked, "down", down ? "" : "1") }, "Backwards"));
  if (first.total) bar.append(element("span", {}, where.length ? "Table of these: " : "Table: ", ...["csv", "parquet"].flatMap((form) => [element("a", { href: `/api/labels/labels.${form}?c=${about.fingerprint}&where=${encodeURIComponent(JSON.stringify(where))}`, download: `recordings.${form}` }, form), " "])));
  const list = element("section", { className: "list", "aria-label": "Recordings" }, bar);
  list.append(first.total ? grid(first.total, load) : element("p", {}, where.length ? "No recording fulfils all of this. " : "The collection is empty. ", where.length ? element("a", { href: link({ page: "browse" }) }, "Show all") : null));
  const key = document.activeElement?.dataset?.key;
  main.replaceChildren(sidebar(asked, facets, where.length), list);
  // Whoever works by keys goes on where they were.
  if (key) [...main.querySelectorAll("[data-key]")].find((each) => each.dataset.key === key)?.focus();
}

function change(asked, name, value) {
  const next = new URLSearchParams(asked);
  if (value === "") next.delete(name); else next.set(name, value);
  go(`/?${next}`);
}

export function sidebar(asked, facets, filtered) {
  const words = element("input", { type: "search", value: asked.get("words") ?? "", "aria-label": "Words in name, label or caption", "data-key": "words", placeholder: "Name, label or caption" });
  const form = element("form", { onsubmit: (event) => { event.preventDefault(); change(asked, "words", words.value.trim()); } }, words);
  const parts = Object.entries(NAMES).map(([name, title]) => facet(asked, name, title, facets[name]));
  const inside = element("div", {}, form, filtered ? element("p", {}, element("a", { href: unfiltered(asked) }, "Show all again")) : null, ...parts.filter(Boolean), bars(asked, facets.duration));
  const small = matchMedia("(max-width: 700px)").matches;
  return element("aside", { className: "facets", "aria-label": "Filters" }, element("details", { open: !small || filtered > 0 }, element("summary", {}, filtered ? `Filters (${filtered})` : "Filters"), inside));
}

export function unfiltered(asked) {
  const next = new URLSearchParams(asked);
  for (const name of [...Object.keys(NAMES), "from", "to", "words"]) next.delete(name);
  return `/?${next}`;
}

function facet(asked, name, title, { values, more }) {
  const chosen = new Set(asked.getAll(name));
  const shown = values.filter(([value]) => value !== "" || values.length > 1);
  if (!shown.length || (shown.length === 1 && !chosen.size && name !== "flags")) return null;
  const boxes = shown.map(([value, number]) => {
    const box = element("input", { type: "checkbox", checked: chosen.has(value), onchange: () => {
      const next = new URLSearchParams(asked);
      next.delete(name);
      if (box.checked) chosen.add(value); else chosen.delete(value);
      for (const each of chosen) next.append(name, each);
      go(`/?${next}`);
    } });
    box.dataset.key = `${name} ${value}`;
    return element("label", { className: "value" }, box, element("span", { title: value }, value || "none"), element("span", { className: "faint" }, number.toLocaleString("en")));
  });
  return element("fieldset", {}, element("legend", {}, title), ...boxes, more ? element("p", { className: "faint" }, `and ${count(more, "value")} more: find them by words`) : null);
}

function bars(asked, found) {
  if (!found || !found.counts.some(Boolean)) return null;
  const most = Math.max(...found.counts);
  const now = asked.has("from") ? [Number(asked.get("from")), Number(asked.get("to"))] : null;
  const made = found.counts.map((number, k) => {
    const [from, to] = [found.ends[k], found.ends[k + 1]];
    const pressed = now !== null && from >= now[0] && to <= now[1];
    const fill = element("span");
    fill.style.height = `${number ? Math.max(6, (100 * number) / most) : 0}%`;
    return element("button", { type: "button", "aria-pressed": String(pressed), "data-key": `bar ${k}`, "aria-label": `${clock(from) || "0"} to ${clock(to)}: ${number}`, title: `${clock(from) || "0"} to ${clock(to)}: ${number}`, onclick: () => {
      const next = new URLSearchParams(asked);
      if (pressed) { next.delete("from"); next.delete("to"); } else { next.set("from", from); next.set("to", to); }
      go(`/?${next}`);
    } }, fill);
  });
  return element("fieldset", {}, element("legend", {}, "Duration"), element("div", { className: "bars" }, ...made), element("p", { className: "faint" }, `0 to ${clock(found.ends.at(-1))}`));
}

export async function quarantine(main, wanted) {
  const found = await data("/api/quarantine");
  if (!wanted()) return;
  main.className = "";
  const body = found.map(({ path, reason, message }) => element("tr", {}, element("td", {}, path), element("td", {}, reason), element("td", {}, message)));
  const head = element("thead", {}, element("tr", {}, ...["File", "Reason", "What was seen"].map((name) => element("th", { scope: "col" }, name))));
  main.replaceChildren(element("h1", {}, found.length ? `${count(found.length, "file")} that could not be read` : "Every file could be read"), found.length ? element("table", {}, head, element("tbody", {}, ...body)) : "");
  notice("");
}

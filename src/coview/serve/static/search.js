// Search by example: what is asked, and the recordings most like it, each with its windows; more and less like this.
import { about, address, count, data, element, go, link, notice } from "./page.js";
import { conditions, sidebar, unfiltered } from "./browse.js";
import { panel } from "./asking.js";
import { body, kept, like, parts, recordings, searching } from "./query.js";
import { play, tile } from "./tile.js";

const PAGE = 24, MOST = 1000; // hits

export async function search(main, wanted) {
  if (!about.search) {
    main.className = "";
    main.replaceChildren(element("h1", {}, "Search by example is off"), element("p", {}, "It needs a model: stop the server and start coview serve --model RUN --collection " + about.name + ". Everything else works without."));
    return;
  }
  const asked = address(), where = conditions(asked), own = parts(asked);
  const ask = { ...body(asked), where, k: Math.min(MOST, Number(asked.get("k") ?? PAGE)), liked: asked.getAll("more").map(Number), disliked: asked.getAll("less").map(Number) };
  const [facets, found, tiles] = await Promise.all([
    data("/api/facets", { c: about.fingerprint, where }),
    own.length ? data("/api/search", ask).catch((error) => ({ error })) : null,
    recordings(own),
  ]);
  if (!wanted()) return;
  if (found?.error && (found.error.status === 409 || found.error.status === 0)) throw found.error;
  const list = element("section", { className: "list searched", "aria-label": "Search by example" }, panel(asked, tiles), ...shown(asked, found, ask, where.length));
  const key = document.activeElement?.dataset?.key, top = main.querySelector(".searched")?.scrollTop ?? 0;
  main.className = "browse";
  main.replaceChildren(sidebar(asked, facets, where.length), list);
  if (key) [...main.querySelectorAll("[data-key]")].find((each) => each.dataset.key === key)?.focus({ preventScroll: true });
  list.scrollTop = top;
  notice("");
}

function shown(asked, found, ask, filtered) {
  if (!found) return [element("p", { className: "faint" }, "Choose or drop a file, record a sound" + (about.search.words ? ", write words" : "") + ", or take “like this” at any recording.")];
  if (found.error) return [element("p", { className: "bad", role: "alert" }, found.error.message)];
  const remarks = found.remarks.map((text) => element("p", { className: "remark" }, text));
  const judged = ask.liked.length + ask.disliked.length;
  const undo = judged ? element("button", { type: "button", "data-key": "undo", onclick: () => go(unjudged(asked)) }, "Undo") : null;
  const said = element("div", { className: "bar" }, element("output", {}, `The ${found.hits.length.toLocaleString("en")} nearest of ${count(found.among, "recording")}${filtered ? " that fulfil the filters" : ""}` + (judged ? `, ${ask.liked.length} more and ${ask.disliked.length} less of what is looked for` : "")), undo);
  const hits = element("div", { className: "hits", role: "list", "aria-label": "Hits" }, ...found.hits.map((each) => hit(asked, each, ask)));
  const more = found.hits.length < found.among && ask.k < MOST ? element("button", { type: "button", "data-key": "further", onclick: () => go(searching({ k: Math.min(MOST, ask.k + PAGE) }, asked), true) || dispatchEvent(new Event("popstate")) }, "Show more") : null;
  return [...remarks, said, found.hits.length ? hits : element("p", {}, "No recording is left to compare with. ", filtered ? element("a", { href: unfiltered(asked) }, "Take the filters away") : null), more ? element("p", {}, more) : null].filter(Boolean);
}

function judged(asked, name, row) {
  const pairs = [...asked].filter(([each, value]) => !((each === "more" || each === "less") && value === row));
  return `/?${new URLSearchParams(name ? [...pairs, [name, row]] : pairs)}`;
}

// The address without the judgement that came last: judgements stand in it in their order.
function unjudged(asked) {
  const pairs = [...asked], last = pairs.findLastIndex(([name]) => name === "more" || name === "less");
  return `/?${new URLSearchParams(pairs.toSpliced(last, 1))}`;
}

const share = (number) => (number >= 99.95 ? "all" : `${number.toFixed(1)} %`);

function hit(asked, entry, { liked, disliked }) {
  const cosine = Object.values(entry.cosines).length === 1 ? Object.values(entry.cosines)[0].toFixed(2) : Object.entries(entry.cosines).map(([view, value]) => `${title(view)} ${value.toFixed(2)}`).join(", ");
  const made = tile({ ...entry, score: `cosine ${cosine}, nearer than ${share(entry.percentile)}`, more: kept(asked) });
  const look = made.querySelector(".look");
  const bars = entry.windows.length > 1 ? element("div", { className: "windows", role: "group", "aria-label": `Windows of ${entry.id}, compared by ${title(entry.view)}` }, ...entry.windows.map(([start, end, value, height]) => {
    const fill = element("span");
    fill.style.height = `${Math.max(4, 100 * height)}%`;
    const said = `${start.toFixed(1)} to ${end.toFixed(1)} s: cosine ${value.toFixed(2)}; play it`;
    return element("button", { type: "button", title: said, "aria-label": said, onclick: () => play(look, entry, start, true) }, fill);
  })) : null;
  const judge = (name, text) => {
    const mine = String(entry.row), on = asked.getAll(name).includes(mine);
    return element("button", { type: "button", "aria-pressed": String(on), "aria-label": `${text} like ${entry.id}`, "data-key": `${name} ${entry.row}`, onclick: () => go(judged(asked, on ? null : name, mine)) }, text);
  };
  const judging = element("div", { className: "judge" }, judge("more", "More"), judge("less", "Less"), element("a", { href: like("row", entry.row), "aria-label": `Search like ${entry.id}` }, "Like this"));
  const state = liked.includes(entry.row) ? " liked" : disliked.includes(entry.row) ? " disliked" : "";
  return element("div", { className: `hit${state}`, role: "listitem" }, made, bars, judging);
}

const title = (view) => about.search.find.find((each) => each.name === view)?.title ?? view;

// Labels by keys: an item plays by itself, a key names it, the next one plays; below stands what is known by now.
import { about, address, count, data, element, media, notice } from "./page.js";
import { play, still } from "./recording.js";

const KEYS = "1234567890abcdefghijklmnopqrtuvwyz"; // without s and x
const AHEAD = 3; // fewer items in the queue, and more are asked for
const two = (share) => share.toFixed(2).replace(/^0/, "");

export async function label(main, wanted) {
  const c = about.fingerprint, asked = address().get("row");
  const hows = new Map(); // row -> as what it was asked for: one that is taken back and asked again is that again
  let queue = [], item = null, state = null, last = Promise.resolve(), filling = null;
  const place = element("section", { className: "item", "aria-label": "Recording" });
  const choices = element("div", { className: "choices", role: "group", "aria-label": "Classes" });
  const known = element("section", { className: "known", "aria-label": "What is known by now" });
  const said = element("output", {});

  const fill = () => (filling ??= (async () => {
    await last;
    const rows = [...queue, ...(item ? [item] : [])].map(({ row }) => row);
    const found = await data("/api/labels/next", { c, but: rows });
    queue.push(...found.items);
    for (const { row, how } of found.items) hows.set(row, how);
    state = found.state;
    tell();
  })().finally(() => { filling = null; }));

  async function show(next) {
    place.querySelector("video, audio")?.pause();
    item = next ?? null;
    delete place.dataset.ready;
    if (!item) {
      place.replaceChildren(element("p", {}, `Every recording has been looked at. `, state.skipped ? `${count(state.skipped, "recording")} skipped.` : ""));
      place.dataset.ready = "1";
      return;
    }
    const mine = item, player = element("div", { className: "player" }, element("p", { className: "faint" }, "Preparing it …"));
    const title = element("h1", {});
    place.dataset.row = mine.row;
    place.replaceChildren(title, player);
    try {
      const found = await (mine.found ??= data(`/api/recordings/${mine.row}?c=${c}`));
      if (item !== mine) return;
      title.append(found.id, found.label ? element("span", { className: "faint" }, ` the collection says ${found.label}`) : "");
      if (found.caption) title.after(element("p", {}, found.caption));
      if (found.duration > 0) await begin(player, found, mine); else still(player, found, mine.row);
    } catch (error) {
      player.replaceChildren(element("p", { className: "bad" }, `It cannot be shown: ${error.message}`));
    }
    if (item !== mine) return;
    place.dataset.ready = "1";
    for (const each of queue.slice(0, 1)) ahead(each);
  }

  async function begin(place, found, mine) {
    const again = (player) => {
      player.autoplay = player.loop = true;
      // A piece of a longer file is played again from its own beginning.
      player.addEventListener("timeupdate", () => { if (player.currentTime > found.end) player.currentTime = found.start; });
      player.addEventListener("canplay", async () => {
        if (!player.paused) return;
        try { await player.play(); } catch { player.muted = true; player.play().catch(() => {}); notice("The browser keeps it silent until you press a key."); }
      }, { once: true });
    };
    await play(place, found, mine.row, found.start, again);
  }

  // The next one is made ready while this one is looked at.
  function ahead(each) {
    each.found ??= data(`/api/recordings/${each.row}?c=${c}`);
    each.found.then(async (found) => {
      if (!(found.duration > 0) || each.warm) return;
      each.warm = true;
      const how = await data(media(each.row, "play"));
      await fetch(media(each.row, how.direct ? "" : "proxy"), { headers: { Range: "bytes=0-65535" } });
    }).catch(() => { each.found = undefined; });
  }

  function say(name, how) {
    if (!item) return;
    const mine = item;
    notice("");
    last = last.then(async () => { state = { ...state, ...(await data("/api/labels", { c, row: mine.row, label: name, how: name === null ? how : mine.how })) }; tell(); })
      .catch((error) => { notice(`It was not kept: ${error.message}`); queue.unshift(mine); if (!item) show(queue.shift()); });
    forward();
  }

  async function forward() {
    if (queue.length < AHEAD) fill().then(() => { if (!item && queue.length) show(queue.shift()); }).catch((error) => notice(error.message));
    if (!queue.length && filling) await filling.catch(() => {});
    await show(queue.shift());
  }

  async function undo() {
    await last;
    try {
      const { undone, counts } = await data("/api/labels/undo", { c });
      state = { ...state, ...counts };
      tell();
      if (!undone.how) notice("There is nothing to take back.");
      else if (undone.rows.length === 1) {
        notice(undone.label ? `Taken back: ${undone.label}.` : "Taken back.");
        if (item) queue.unshift(item);
        show({ row: undone.rows[0], how: undone.how === "random" ? "random" : hows.get(undone.rows[0]) ?? "key" });
      } else notice(undone.rows.length ? `Taken back: ${count(undone.rows.length, "label")} at once.` : `Taken back: the class ${undone.label}.`);
    } catch (error) { notice(error.message); }
  }

  async function named(name, gone = false) {
    try {
      state = { ...state, ...(await data("/api/labels/classes", { c, name, gone })) };
      notice("");
      tell();
    } catch (error) { notice(error.message); }
  }

  function tell() {
    const buttons = state.classes.map(({ name, count: number, own }, k) => element("button", { type: "button", className: "choice", onclick: () => { main.focus(); say(name); } },
      KEYS[k] ? element("kbd", {}, KEYS[k]) : null, element("span", {}, name), element("span", { className: "faint" }, (number + own).toLocaleString("en"))));
    choices.replaceChildren(...buttons, ...(buttons.length ? [] : [element("p", {}, "Name the classes first: two or more.")]));
    const done = state.labelled + state.own;
    said.textContent = `${done.toLocaleString("en")} of ${count(state.recordings, "recording")} labelled` + [["skipped", state.skipped], ["broken", state.broken]].filter(([, n]) => n).map(([word, n]) => `, ${n} ${word}`).join("");
    known.replaceChildren(...facts(state), empty(state, named), ...suggested());
  }

  function suggested() {
    if (!state.learns) return [];
    const answer = element("p", { role: "status" });
    const choice = element("select", { "aria-label": "Share that should be right" }, ...[0.8, 0.9, 0.95].map((value) => element("option", { value, selected: value === 0.9 }, `${value * 100} %`)));
    const look = async (take) => {
      try {
        const found = await data("/api/labels/suggestions", { c, precision: Number(choice.value), take });
        if (take) { notice(`${count(take, "recording")} labelled. Backspace takes all of it back.`); await fill(); return; }
        if (!found.offered) { answer.textContent = `The labels do not show that yet. It takes at least ${found.least} recordings drawn at random, all of them named right.`; return; }
        const { right, of } = found.offered;
        const by = Object.entries(found.by).map(([name, n]) => `${n} ${name}`).join(", ");
        answer.replaceChildren(`${count(found.count, "recording")} would be labelled (${by || "none"}): of those drawn at random and as sure as these, ${right} of ${of} were named right. `,
          found.count ? element("button", { type: "button", onclick: () => look(found.count) }, `Label these ${found.count}`) : "");
      } catch (error) { answer.textContent = error.message; }
    };
    return [element("h2", {}, "The rest"), element("p", { className: "bar" }, element("label", {}, "Label those of which at least ", choice, " should be right "), element("button", { type: "button", onclick: () => look(null) }, "Look")), answer];
  }

  const acts = { Backspace: ["Undo", undo], s: ["Skip", () => say(null, "skip")], x: ["Broken", () => say(null, "broken")] };
  function press(event) {
    if (!wanted() || !main.contains(place)) { document.removeEventListener("keydown", press); return; }
    const on = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || on.matches("input, select, textarea")) return;
    const k = KEYS.indexOf(event.key);
    if (event.key === " ") {
      const player = place.querySelector("video, audio");
      if (!player || on === player || on.closest("button, a, summary, .wave")) return;
      if (player.paused || player.muted) { player.muted = false; player.play(); } else player.pause();
    } else if (acts[event.key]) acts[event.key][1]();
    else if (k >= 0 && event.key.length === 1 && state.classes[k]) say(state.classes[k].name);
    else return;
    event.preventDefault();
  }

  if (asked !== null) item = { row: Number(asked), how: "key" };
  main.className = "";
  main.replaceChildren(element("p", { className: "loading" }, "Preparing the queue …"));
  await fill();
  if (!wanted()) return;
  const word = element("input", { "aria-label": "Name of a class", placeholder: "Another class", maxLength: 100 });
  const form = element("form", { className: "bar", onsubmit: (event) => { event.preventDefault(); if (word.value.trim()) { named(word.value); word.value = ""; } } }, word, element("button", {}, "Add"));
  const others = element("div", { className: "bar acts" }, ...Object.entries(acts).map(([key, [text, act]]) => element("button", { type: "button", onclick: () => { main.focus(); act(); } }, element("kbd", {}, key === "Backspace" ? "⌫" : key), text)));
  const tables = element("p", {}, "Table: ", ...["csv", "parquet"].flatMap((form) => [element("a", { href: `/api/labels/labels.${form}?c=${c}`, download: `labels.${form}` }, `labels.${form}`), " "]),
    element("span", { className: "faint" }, "coview index and coview evaluate --labels read it; what is broken is left out."));
  main.className = "label";
  main.replaceChildren(element("div", { className: "bar" }, said, element("span", { className: "faint keys" }, "Space plays and stops it")), place, element("div", { className: "answer" }, choices, others, form), element("div", { className: "beside" }, known, tables));
  if (state.carried.labels) notice(`${count(state.carried.labels, "label")} carried over from ${count(state.carried.logs, "earlier index", "earlier indexes")} of the same recordings.`);
  else notice("");
  document.addEventListener("keydown", press);
  main.focus();
  show(item ?? queue.shift());
}

// Classes without a recording can be taken away again.
function empty(state, named) {
  const free = state.classes.filter((each) => !each.count && !each.own);
  return free.length ? element("p", {}, "Without a recording: ", ...free.flatMap(({ name }) => [element("button", { type: "button", onclick: () => named(name, true) }, `Remove ${name}`), " "])) : "";
}

function facts(state) {
  if (!state.features) return [element("p", { className: "faint" }, "Nothing is learnt, and recordings come at random: there are no embeddings. Start with coview serve --embeddings FOLDER, made by coview embed.")];
  if (!state.learns) return [element("p", { className: "faint" }, `A classifier learns as soon as ${state.needs.classes} classes have ${state.needs.items} labels each; one of five recordings is drawn at random to measure it, and not learnt from.`)];
  const found = state.estimate;
  if (!found) return [element("p", {}, "It learns. None of the recordings drawn at random has a label yet, so how well it does is not known.")];
  const line = element("p", {}, element("b", {}, `${two(found.right / found.of)} are named right`), ` (${two(found.low)} to ${two(found.high)}, 95 %): ${found.right} of ${count(found.of, "recording")} drawn at random and not learnt from. The commonest class alone would be right on ${found.commonest}. Learnt from ${count(found.from, "label")}.`);
  const mixed = new Set(found.confusion.flatMap(([truth, guess]) => [truth, guess]));
  const names = state.classes.map(({ name }) => name).filter((name) => mixed.has(name));
  const cell = (truth, guess) => found.confusion.find(([t, g]) => t === truth && g === guess)?.[2] ?? 0;
  const head = element("tr", {}, element("th", { scope: "col" }, "You say, it says"), ...names.map((name) => element("th", { scope: "col" }, name)));
  const rows = names.map((truth) => element("tr", {}, element("th", { scope: "row" }, truth), ...names.map((guess) => element("td", { className: truth === guess ? "same" : "" }, String(cell(truth, guess) || "")))));
  return [line, names.length <= 12 ? element("div", { className: "scroll" }, element("table", { className: "confusion", "aria-label": "What it says of the recordings drawn at random" }, element("thead", {}, head), element("tbody", {}, ...rows))) : ""];
}

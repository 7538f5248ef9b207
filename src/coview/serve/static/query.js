// A search by example as the address holds it: its parts, by which views it asks and which it looks for, what was judged.
import { about, address, data, link } from "./page.js";

const FILTERS = ["kind", "label", "split", "flags", "codec", "from", "to", "words"];
const FIELDS = ["part", "by", "find", "more", "less", "k"];

// part=row:12, span:12:1.5:3, file:NAME:SHOWN or words:TEXT; before it "-0.5*" for another weight than 1.
export function parts(asked) {
  return asked.getAll("part").map((text) => {
    const [, weight, kind, rest] = /^(?:(-?[\d.]+)\*)?(row|span|file|words):(.*)$/s.exec(text) ?? [];
    const found = { text, weight: Number(weight ?? 1), kind, rest };
    const [first, ...others] = (rest ?? "").split(":");
    if (kind === "row") return { ...found, row: Number(first), body: { row: Number(first) } };
    if (kind === "span") return { ...found, row: Number(first), span: others.map(Number), body: { row: Number(first), from: Number(others[0]), to: Number(others[1]) } };
    if (kind === "file") return { ...found, name: others.join(":"), body: { query: first } };
    return { ...found, kind: "words", name: rest ?? text, body: { text: rest ?? text } };
  });
}

export const part = (kind, ...rest) => [kind, rest.join(":")].join(":");
export const weighted = (found, weight) => `${weight === 1 ? "" : `${weight}*`}${found.kind}:${found.rest}`;

// Where the address names none, all views ask and all are looked for: a sound asks by its sound at once.
export function chosen(asked, what) {
  const named = about.search[what].map((view) => view.name);
  const some = asked.getAll(what).filter((name) => named.includes(name));
  return some.length ? some : named;
}

export function body(asked) {
  const own = parts(asked).map((each) => ({ ...each.body, weight: each.weight }));
  return { c: about.fingerprint, parts: own, by: chosen(asked, "by"), find: chosen(asked, "find") };
}

// The query's fields of the address, for links that keep it.
export function kept(asked = address(), fields = FIELDS) {
  return Object.fromEntries(fields.filter((name) => asked.has(name)).map((name) => [name, asked.getAll(name)]));
}

export function searching(changes, asked = address()) {
  return link({ ...kept(asked, [...FIELDS, ...FILTERS]), page: "search", ...changes });
}

// A new query of one part; views and filters stay as they were chosen.
export function like(...what) {
  const asked = address();
  return link({ ...kept(asked, ["by", "find"]), page: "search", part: part(...what) });
}

// What is known of the recordings among a query's parts; null for what is none.
export const recordings = (own) => Promise.all(own.map(({ row }) => (row === undefined ? null : data(`/api/recordings/${row}?c=${about.fingerprint}`).catch(() => null))));

// The page's beginning: the token becomes a cookie, then the address says what is shown.
import { about, address, data, element, follow, link, notice, Refused } from "./page.js";
import { browse, quarantine } from "./browse.js";
import { label } from "./label.js";
import { recording } from "./recording.js";
import { search } from "./search.js";

const PAGES = { browse: ["Browse", browse], search: ["Search", search], label: ["Label", label], quarantine: ["Not readable", quarantine], recording: [null, recording] };
const main = document.getElementById("main");
let shown = 0;

async function start() {
  const token = new URLSearchParams(location.hash.slice(1)).get("t");
  try {
    if (token) {
      await data("/api/session", { token });
      history.replaceState(null, "", location.pathname + location.search); // nobody reads it over a shoulder
    }
    Object.assign(about, await data("/api/about"));
  } catch (error) {
    fail(error);
    return;
  }
  document.getElementById("name").textContent = about.name;
  document.title = `${about.name} · coview`;
  document.addEventListener("click", follow);
  addEventListener("popstate", show);
  await show();
}

async function show() {
  const mine = ++shown, name = address().get("page") ?? "browse";
  const [, page] = PAGES[name] ?? PAGES.browse;
  const links = Object.entries(PAGES).filter(([, [title]]) => title).map(([each, [title]]) => {
    const text = each === "quarantine" ? `${title} (${about.counts.quarantined.toLocaleString("en")})` : title;
    return element("a", { href: link({ page: each }), "aria-current": each === name ? "page" : undefined }, text);
  });
  document.getElementById("pages").replaceChildren(...links);
  delete main.dataset.ready;
  try {
    await page(main, () => mine === shown);
  } catch (error) {
    if (mine === shown) fail(error);
  }
  if (mine !== shown) return;
  main.dataset.ready = "1";
}

function fail(error) {
  if (!(error instanceof Refused)) console.error(error);
  const hint = error.status === 401 ? "Open the whole address that coview serve printed, with everything behind the #." : error.message;
  main.className = "";
  main.replaceChildren(element("h1", {}, "This cannot be shown"), element("p", {}, hint));
  if (error.status !== 409) notice("");
}

start();

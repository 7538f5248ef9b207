"""The page in a real browser: by pointer and by keys, at two widths; what is played is seen and heard."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from serving import make_media

from coview.data.index import index_source

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = "<img src=x onerror=document.title='hacked'>"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this computer: the page is not opened in a browser"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Yield the printed address of a running `coview serve`, and its process."""
    folder = tmp_path_factory.mktemp("browser")
    make_media(folder / "media")
    (folder / "media" / "a-film.txt").write_text(HOSTILE)
    index_source(str(folder / "media"), folder / "collection", workers=0)
    words = [sys.executable, "-m", "coview", "serve", "--collection", str(folder / "collection"), "--port", "0"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright: the page is not opened in a browser")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM)
        yield found
        found.close()


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["1280 light", "390 dark"])
def page(request, served, browser):
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(60_000)  # decoders start while the computer may be busy
    page.trouble, page.asked = [], set()
    page.on("console", lambda said: page.trouble.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: page.trouble.append(str(error)))
    page.on("request", lambda asked: page.asked.add(asked.url.split("/", 3)[2]))
    page.goto(served[0])
    page.wait_for_selector("main[data-ready] .grid[data-ready='1']")
    yield page
    assert page.trouble == []  # among them whatever the policy refused
    assert page.asked == {served[0].split("/")[2]}  # nothing is asked of any other place
    context.close()


def test_look_filter_open_play(page):
    assert "t=" not in page.url  # the token is not left where it can be read
    assert page.locator(".bar output").inner_text() == "4 recordings"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if page.locator(".facets details:not([open])").count():
        page.click(".facets summary")
    page.locator("label.value", has_text=re.compile("^still")).locator("input").first.click()
    page.wait_for_selector(".bar output:has-text('1 of 4 recordings')")
    assert "kind=still" in page.url and page.evaluate("document.activeElement.type") == "checkbox"  # keys go on there
    page.go_back()
    page.wait_for_selector(".bar output:has-text('4 recordings')")
    page.wait_for_selector(".grid[data-ready='1']")
    # By keys alone: to the first tile, to the next, open it.
    page.locator(".tile").first.focus()
    page.keyboard.press("ArrowRight")
    assert "b-old.avi" in page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    page.wait_for_selector(".player[data-ready]")
    assert page.get_by_text(HOSTILE).count() == 1 and "hacked" not in page.title()  # a caption is only text


@pytest.mark.parametrize(("row", "copy"), [(0, False), (1, True), (2, False)], ids=["film", "old film", "sound"])
def test_everything_plays(page, served, row, copy):
    page.goto(f"{served[0].split('#')[0]}?page=recording&row={row}")
    page.wait_for_selector(".player[data-ready]")
    state = """async () => {
        const player = document.querySelector('video, audio');
        for (let k = 0; k < 200 && player.readyState < 2; k++) await new Promise((done) => setTimeout(done, 50));
        player.muted = true;
        await player.play();
        for (let k = 0; k < 200 && player.currentTime < 0.2; k++) await new Promise((done) => setTimeout(done, 50));
        player.pause();
        const { currentTime, duration, videoWidth, webkitAudioDecodedByteCount } = player;
        return [videoWidth ?? 0, currentTime >= 0.2, duration, webkitAudioDecodedByteCount ?? 0];
    }"""
    width, moved, seconds, heard = page.evaluate(state)
    assert (width, moved) == (0 if row == 2 else 64, True) and abs(seconds - 2) < 0.1
    assert row == 1 or heard > 0
    assert ("/proxy" in page.evaluate("document.querySelector('video, audio').src")) == copy
    # One clock: the drawn sound moves the player, and says where it is.
    page.locator(".wave").focus()
    page.keyboard.press("Home")
    page.keyboard.press("PageUp")
    assert page.evaluate("document.querySelector('video, audio').currentTime") == pytest.approx(0.2, abs=0.05)


def test_what_could_not_be_read_is_listed(page, served):
    page.goto(f"{served[0].split('#')[0]}?page=quarantine")
    page.wait_for_selector("main[data-ready]")
    assert page.locator("tbody tr").count() == 1 and "e-broken.mp4" in page.locator("tbody").inner_text()


def test_ctrl_c_ends_it_with_a_sentence(served):
    _, process = served
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0 and "stopped" in said and "Traceback" not in said


def test_the_pictures_of_the_page_are_kept():
    for width in (1280, 390):
        for scheme in ("light", "dark"):
            assert (Path(__file__).parents[2] / "docs" / "pages" / f"serve-{width}-{scheme}.png").stat().st_size > 0

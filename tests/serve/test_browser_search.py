"""Search by example in a real browser: like this, a file, the microphone, more, less, which second; at two widths."""

import math
import os
import re
import shutil
import subprocess
import sys
import wave

import numpy as np
import pytest
from measured import collection, tiny_model

from coview.data.collection import Collection

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this computer: the page is not opened in a browser"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """Yield the printed address of a running `coview serve --model`, and a folder with a sound to search by."""
    folder = tmp_path_factory.mktemp("by-example")
    tiny_model().save(folder / "model")
    with wave.open(str(folder / "tone.wav"), "wb") as file:
        file.setparams((1, 2, 48000, 0, "NONE", ""))
        tone = 0.4 * np.sin(2 * math.pi * 440 * np.arange(4 * 48000) / 48000)
        file.writeframes((tone * 32767).astype("<i2").tobytes())
    words = ["serve", "--model", str(folder / "model"), "--collection", str(collection()), "--port", "0"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "coview", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=environment,
    )  # fmt: skip
    try:
        yield process.stdout.readline().strip(), folder
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def browser(served):
    sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright: the page is not opened in a browser")
    heard = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    heard.append(f"--use-file-for-fake-audio-capture={served[1] / 'tone.wav'}")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=heard)
        yield found
        found.close()


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["1280 light", "390 dark"])
def page(request, served, browser):
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.trouble, page.asked = [], set()
    page.on("console", lambda said: page.trouble.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: page.trouble.append(str(error)))
    page.on("request", lambda asked: page.asked.add(asked.url.split("/", 3)[2]))
    page.goto(served[0])
    page.wait_for_selector("main[data-ready] .grid[data-ready='1']")
    page.here = served[0].split("#")[0]
    yield page
    assert page.trouble == []  # among them whatever the policy refused
    assert {host for host in page.asked if host} == {served[0].split("/")[2]}  # nothing of any other place
    context.close()


def hits(page):
    page.wait_for_selector("main[data-ready] .hit")
    return [
        re.search(r"row=(\d+)", name)[1] for name in page.locator(".hit .tile").evaluate_all("t => t.map(a => a.href)")
    ]


def test_like_this_more_less_and_a_link_repeats_it(page):
    page.locator(".tile").nth(3).focus()
    page.keyboard.press("Tab")  # by keys alone: from a tile to what is beside it
    page.keyboard.press("Enter")
    first = hits(page)
    assert "part=row%3A3" in page.url and "3" not in first and len(first) == 24
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert re.search(r"cosine .*nearer than", page.locator(".hit .title").first.inner_text())
    page.goto(f"{page.url}&k=30")  # all of them: nothing that is judged falls out of what is shown
    page.wait_for_selector("main[data-ready] .hit:nth-child(29)")
    page.locator(".hit button", has_text="More").nth(9).click()
    page.wait_for_selector(".hit.liked")
    assert f"more={first[9]}" in page.url
    assert page.evaluate("document.activeElement.textContent") == "More"  # keys go on there
    page.locator(".hit button", has_text="Less").last.click()
    page.wait_for_selector(".hit.disliked")
    page.goto(page.url)  # as a link
    page.wait_for_selector(".hit.liked")
    for left in (".hits:not(:has(.disliked)):has(.liked)", ".hits:not(:has(.liked))"):
        page.locator("[data-key=undo]").click()
        page.wait_for_selector(f"main[data-ready] {left}")
    assert hits(page)[:24] == first


def test_directions_weights_and_filters_are_the_address(page):
    page.goto(f"{page.here}?page=search&part=row:3&by=audio&find=video")
    one = hits(page)
    page.locator("[data-key='find audio']").click()
    page.wait_for_selector("[data-key='find audio'][aria-pressed='true']")
    page.locator("[data-key='find video']").click()
    page.wait_for_selector("[data-key='find video'][aria-pressed='false']")
    assert "find=audio" in page.url and "find=video" not in page.url and hits(page) != one
    page.locator(".parts select").select_option("-1")
    page.wait_for_url(re.compile("part=-1"))
    hits(page)
    page.goto(f"{page.here}?page=search&part=row:3&label={Collection.open(collection())[5].label}")
    assert len(hits(page)) < 24 and "that fulfil the filters" in page.locator(".bar output").inner_text()
    page.locator("[data-key='remove 0']").click()
    page.wait_for_selector("main[data-ready] .searched:not(:has(.hit))")


def test_a_file_and_the_microphone(page, served):
    page.goto(f"{page.here}?page=search&find=audio")
    page.wait_for_selector("main[data-ready] .ask")
    page.locator("input[type=file]").set_input_files(served[1] / "tone.wav")
    by_file = hits(page)
    assert "tone.wav" in page.locator(".parts").inner_text()
    page.locator("[data-key=over]").click()
    page.wait_for_selector("main[data-ready] .searched:not(:has(.hit))")
    page.locator("[data-key=microphone]").click()
    page.wait_for_selector("[data-key=microphone][aria-pressed=true]")
    page.wait_for_timeout(3000)
    page.locator("[data-key=microphone]").click()
    by_microphone = hits(page)
    assert "microphone" in page.locator(".parts").inner_text()
    assert len(set(by_file[:5]) & set(by_microphone[:5])) >= 4  # what was played is what was heard
    page.goto(f"{page.here}?page=search&part=file:0123456789abcdef:gone.wav")
    page.wait_for_selector(".bad")
    assert "drop it again" in page.locator(".bad").inner_text()
    page.trouble.clear()  # the refusal just asked for


def test_windows_play_and_the_second_is_shown(page):
    page.goto(f"{page.here}?page=search&part=row:3")
    hits(page)
    page.locator(".windows button").first.click()
    page.wait_for_selector(".look.playing video")
    page.locator(".hit .tile").first.click()
    page.wait_for_selector("section[aria-label='Which second'][data-ready]")
    assert "part=row%3A3" in page.url and page.locator(".curve canvas").count() == 2
    page.locator(".curve button").first.click()
    page.wait_for_timeout(1500)
    assert page.evaluate("document.querySelector('video').currentTime > 0")
    page.locator("a", has_text="Back to the hits").click()
    hits(page)

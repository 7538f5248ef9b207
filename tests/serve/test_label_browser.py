"""Labels in a real browser: by keys alone and by touch; what is kept, taken back, exported, indexed and evaluated."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from measured import collection, tiny_model

from coview.cli.main import main
from coview.data.collection import Collection
from coview.search.labels import LabelLog, log_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CLASSES = ("low", "middle", "high")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this computer: the page is not opened in a browser"),
]


def truth(row: int) -> str:
    return CLASSES[row % 3]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Thirty films without labels, a model, and the model's embeddings of them, below the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    shutil.copytree(collection() / "media", "media")
    films = sorted(Path("media").glob("**/*.mp4"))
    lines = [f"{film},clip-{k:02d},{'test' if k % 5 in (0, 3) else 'train'}" for k, film in enumerate(films)]
    Path("films.csv").write_text("\n".join(["path,id,split", *lines]))
    assert main(["index", "films.csv", "-o", "films", "--workers", "0"]) == 0
    tiny_model().save(Path("model"))
    assert main(["embed", "--model", "model", "--collection", "films", "-o", "embedded", "--device", "cpu"]) == 0
    return tmp_path


@pytest.fixture
def address(place):
    words = [
        sys.executable,
        "-m",
        "coview",
        "serve",
        "--collection",
        "films",
        "--embeddings",
        "embedded",
        "--port",
        "0",
    ]
    environment = {**os.environ, "XDG_CACHE_HOME": str(place / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def opened(browser, address, trouble, **options):
    page = browser.new_context(**options).new_page()
    page.set_default_timeout(300_000)  # torch is imported by the first who labels, and the computer may be busy
    page.on("console", lambda said: trouble.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.goto(address)
    page.wait_for_selector("main[data-ready]")
    page.click("nav a:has-text('Label')")
    page.wait_for_selector(".item[data-ready]")
    return page


def row_of(page) -> int:
    return int(page.get_attribute(".item", "data-row"))


def after(page, row: int) -> int:
    """Wait until another recording is shown; return its row."""
    page.wait_for_selector(f".item[data-ready]:not([data-row='{row}'])")
    return row_of(page)


def test_twenty_labels_by_keys_then_index_and_evaluate(place, address, capsys):
    sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright: the page is not opened in a browser")
    trouble = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        page = opened(browser, address, trouble, viewport={"width": 1280, "height": 800})
        for name in CLASSES:
            page.fill("input[aria-label='Name of a class']", name)
            page.keyboard.press("Enter")
            page.wait_for_selector(f".choice:has-text('{name}')")
        page.locator("main").focus()
        seen = [row_of(page)]
        for _ in range(20):
            page.keyboard.press(str(1 + seen[-1] % 3))
            seen.append(after(page, seen[-1]))
        # It plays by itself, again and again; Space stops it.
        state = "(() => { const player = document.querySelector('video'); return [player.paused, player.loop]; })()"
        page.wait_for_selector(".wave")
        assert page.evaluate(state) == [False, True]
        page.keyboard.press("Space")
        assert page.evaluate(state) == [True, True]
        page.wait_for_selector("main output:has-text('20 of 30 recordings labelled')")
        assert "named right" in page.locator(".known").inner_text()
        page.keyboard.press("Backspace")  # the last one is back, and can be named again
        assert after(page, seen[-1]) == seen[-2]
        page.wait_for_selector("main output:has-text('19 of 30 recordings labelled')")
        page.keyboard.press(str(1 + seen[-2] % 3))
        assert after(page, seen[-2]) == seen[-1]
        page.keyboard.press("s")
        seen.append(after(page, seen[-1]))
        page.keyboard.press("x")
        after(page, seen[-1])
        page.wait_for_selector("main output:has-text('20 of 30 recordings labelled, 1 skipped, 1 broken')")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        with page.expect_download() as saved:
            page.click("a:has-text('labels.csv')")
        saved.value.save_as("labels.csv")
        # By touch, on a narrow page in the dark.
        phone = opened(
            browser, address, trouble, viewport={"width": 390, "height": 800}, color_scheme="dark", has_touch=True
        )
        assert phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
        row = row_of(phone)
        boxes = [box.bounding_box() for box in phone.locator(".choice, .acts button").all()]
        assert len(boxes) == 6 and all(box["height"] >= 44 and box["y"] + box["height"] <= 800 for box in boxes)
        phone.tap(f".choice:has-text('{truth(row)}')")
        after(phone, row)
        phone.tap(".acts button:has-text('Undo')")
        phone.wait_for_selector(f".item[data-ready][data-row='{row}']")
        browser.close()
    assert trouble == []
    rows = list(csv.DictReader(Path("labels.csv").read_text().splitlines()))
    labelled = {row["id"]: row["label"] for row in rows if row["label"]}
    assert len(rows) == 29 and labelled == {f"clip-{row:02d}": truth(row) for row in seen[:20]}
    # The table makes a collection, and both the table and the log are labels for a protocol.
    assert main(["index", "labels.csv", "-o", "again", "--workers", "0"]) == 0
    column = Collection.open("again").column("label")
    assert sorted(filter(None, column)) == sorted(labelled.values())
    log = log_of(Collection.open("films").fingerprint)
    with LabelLog(log) as kept:
        assert sum(said.how == "random" for said in kept.current().values()) == 4
    said = []
    for labels in ("labels.csv", str(log)):
        capsys.readouterr()
        asked = ["--model", "model", "--collection", "films", "--labels", labels, "--device", "cpu", "--json"]
        assert main(["evaluate", "linear-probe", *asked]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and '"n": ' in said[0]

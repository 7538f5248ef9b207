import json
import re
from pathlib import Path

import pytest
import yaml
from measured import tiny_model
from PIL import Image

from coview.data.synthetic.digits import DigitsWorld
from coview.errors import UsageError
from coview.evaluation.bench import Result, weights_of
from coview.evaluation.report import SIZE_LIMIT, write_report
from coview.evaluation.statistics import Measurement
from coview.model import Model

TRUE = Measurement("video_probe/xid", 0.62, 0.60, 0.64, 0.1, 1500)
RANDOM = Measurement("video_probe/random", 0.24, 0.22, 0.26, 0.1, 1500)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "samples").mkdir(parents=True)
    Image.linear_gradient("L").save(folder / "samples" / "video.png")
    settings = "collection: <b>clips</b>\nseed: 0\nmethod:\n  name: xid\n  temperature: 0.07\n"
    (folder / "settings.yaml").write_text(settings)
    lines = [{"step": step, "loss": 5 / step, "lr": 0.1, "rank/video": 20.0} for step in range(1, 2000)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 2000, "lo')
    (folder / "summary.json").write_text(json.dumps({"steps": 1999, "loss": 0.0025, "negatives": 63, "plateau": None}))
    Result(["linear-probe"], [TRUE, RANDOM], {}, ["a note"]).save(folder / "evaluations" / "linear-probe.json")
    return folder


def test_one_file_with_everything_inside(run: Path) -> None:
    page = write_report(run, model=tiny_model(), source=DigitsWorld("A", "test", 60))
    text = page.read_text(encoding="utf-8")
    assert len(text.encode()) < SIZE_LIMIT
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', text)  # nothing outside
    assert "url(http" not in text
    # Two queries each way and one within each view, five found for each.
    assert len(tiles := re.findall(r'data-clip="(\d+)"', text)) == 36
    assert text.count("data:video/mp4;base64,") == len(set(tiles)) < 36  # each clip once
    assert "data:image/jpeg;base64," in text
    assert "0.620" in text
    assert "a note" in text
    assert "&lt;b&gt;clips" in text
    assert "<b>clips" not in text
    assert "prefers-color-scheme: dark" in text
    assert "currentColor" in text
    assert text.count("<svg") == 5  # loss, rate, rank, two maps
    assert text.count('<div class="bar') == 2


def test_a_run_that_has_nothing_yet_still_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("collection: clips\nmethod: {name: xid}\n")
    assert "xid on clips" in write_report(tmp_path).read_text()


def test_a_collection_whose_name_is_no_utf_8_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump({"collection": "clips\udcff", "method": {"name": "xid"}}))
    assert r"xid on clips\udcff" in write_report(tmp_path).read_text(encoding="utf-8")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a run"):
        write_report(tmp_path)


def test_figures_of_other_weights_are_grey_and_make_no_headline(run: Path) -> None:
    model = tiny_model()
    model.save(run / "model")
    old, new = ({"video": [{"digest": digest, "steps": steps}]} for digest, steps in (("0" * 64, 40), ("", 80)))
    stale = Measurement("class_p1_v2a/xid", 0.167, 0.1, 0.3, 0.1, 60)
    Result(["retrieval"], [stale], {}, ["an old note"], weights=old).save(run / "evaluations" / "retrieval.json")
    fresh = Measurement("audio_probe/xid", 0.5, 0.4, 0.6, 0.1, 60)
    new["video"][0]["digest"] = weights_of(Model.from_run(run))["digest"]
    Result(["knn"], [fresh], {}, weights=new).save(run / "evaluations" / "knn.json")
    text = write_report(run).read_text(encoding="utf-8")
    grey = [line for line in text.splitlines() if "class_p1_v2a/xid" in line]
    assert len(grey) == 1
    assert 'class="soft"' in grey[0]
    assert "step 40" in grey[0]
    assert "an old note" not in text
    assert '<div class="number">0.500</div>' in text
    assert "0.167</div>" not in text
    assert "linear-probe.json: stored before weights were recorded" in text


@pytest.mark.slow
def test_a_page_written_again_keeps_map_and_examples_of_its_weights(run: Path) -> None:
    model = tiny_model()
    model.save(run / "model")
    loaded = Model.from_run(run)
    first = write_report(run, model=loaded, source=DigitsWorld("A", "test", 24), notes=["of the test part"]).read_text()
    again = write_report(run).read_text()
    begin = again.index("<!-- exhibits of")
    assert again[begin : again.index("<!-- end of exhibits")] in first
    assert again.count("data:video/mp4") == first.count("data:video/mp4") > 0
    assert "of the test part" in again
    tiny_model(seed=1).save(run / "model")
    assert "data:video/mp4" not in write_report(run).read_text()  # they showed other weights


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("evaluations/linear-probe.json", '{"results": [{"name": "video_probe/xid"}]}'),
        ("evaluations/linear-probe.json", '{"results": 7}'),
        ("evaluations/linear-probe.json", "["),
        ("summary.json", "[]"),
        ("settings.yaml", "a: [1"),
        ("metrics.jsonl", '{"loss": 1}\n'),
        ("metrics.jsonl", "{\n"),
        ("environment.json", "\x00"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(run: Path, file: str, content: str) -> None:
    (run / file).write_text(content)
    with pytest.raises(UsageError, match=Path(file).name.replace(".", r"\.")):
        write_report(run)

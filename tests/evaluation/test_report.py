import json
import re
from pathlib import Path

import pytest
from measured import tiny_model
from PIL import Image

from coview.data.synthetic.digits import DigitsWorld
from coview.errors import UsageError
from coview.evaluation.protocols import Result
from coview.evaluation.report import SIZE_LIMIT, warnings_of, write_report
from coview.evaluation.statistics import Measurement

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
    # Three queries each way and one within each view, five found for each.
    assert text.count('src="data:video/mp4;base64,') == 48
    assert "data:image/jpeg;base64," in text
    assert "0.620" in text
    assert "a note" in text
    assert "&lt;b&gt;clips" in text
    assert "<b>clips" not in text
    assert "prefers-color-scheme: dark" in text
    assert "currentColor" in text
    assert text.count("<svg") == 6  # bars, loss, rate, rank, two maps


def test_a_run_that_has_nothing_yet_still_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("collection: clips\nmethod: {name: xid}\n")
    assert "xid on clips" in write_report(tmp_path).read_text()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a run"):
        write_report(tmp_path)


def test_warnings_name_plateau_collapse_and_a_figure_that_is_no_better_than_its_control() -> None:
    log = [{"step": 1, "rank/video": 1.2, "rank/audio": 30.0}]
    level = Measurement("video_probe/xid", 0.25, 0.23, 0.27, 0.1, 1500)
    warnings = warnings_of({"plateau": "it sits at chance", "replaced": 3}, log, [level, RANDOM])
    assert len(warnings) == 4
    assert "it sits at chance" in warnings[0]
    assert "video have collapsed" in warnings[2]
    assert "not clearly above its random control" in warnings[3]
    assert warnings_of({}, [], [TRUE, RANDOM]) == []

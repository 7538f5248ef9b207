"""`coview compare`: runs under one budget, resumable, with controls; the table and what it says of a failed run."""

import dataclasses
import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from measured import collection

import coview
from coview.cli.main import main
from coview.comparison.figure import LOOKS, best, draw
from coview.comparison.plan import Comparison, Task, apply, base_settings, plan
from coview.comparison.table import Outcome, orders, orders_to_markdown, summarise, to_markdown
from coview.data import synthetic
from coview.data.memmap import MemmapSource
from coview.errors import UsageError
from coview.training.settings import recommended, resolve


def row(name: str, value: float) -> dict[str, object]:
    return {"name": name, "value": value, "low": value - 0.1, "high": value + 0.1, "chance": 0.1, "n": 100, "seeds": 1}


def outcomes() -> list[Outcome]:
    curve = [{"samples": 10.0, "knn/video": 0.2}, {"samples": 20.0, "knn/video": 0.6}]
    return [
        Outcome(row="xid", seed=0, results=[row("video_probe/xid", 0.6)], samples=20, seconds=2.0, curve=curve),
        Outcome(row="xid", seed=1, results=[row("video_probe/xid", 0.8)], samples=20, seconds=4.0, curve=curve),
        Outcome(row="xid, shuffled", seed=0, results=[row("video_probe/xid, shuffled", 0.2)], samples=20),
        Outcome(row="mcn", seed=0, note="digits-av:A has no text"),
    ]


def test_the_table_has_means_over_seeds_and_says_what_was_not_run(tmp_path: Path) -> None:
    lines = summarise(outcomes())
    assert [line.row for line in lines] == ["xid", "xid, shuffled", "mcn"]
    assert lines[0].figures["video_probe"].value == pytest.approx(0.7)
    assert (lines[0].figures["video_probe"].seeds, lines[0].seconds) == (2, 3.0)
    table = to_markdown(lines)
    assert "| xid | 0.700 (" in table
    assert "not run: digits-av:A has no text" in table
    draw(lines, outcomes(), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000


def test_what_was_not_run_says_so_in_one_cell() -> None:
    lines = summarise([Outcome(row="a", seed=0, note="2 problems:\n  - b | c\n  - d")])
    rows = to_markdown(lines).splitlines()
    assert rows[0].startswith("| method | seeds | ")
    assert rows[-1] == r"| a | not run: 2 problems: - b \| c - d | 0 | 0 |"


def test_the_next_command_is_of_a_run_that_was_made(tmp_path, monkeypatch, capsys) -> None:
    made = Outcome(row="b", seed=0, results=[row("video_probe/b", 0.5)])
    tasks = []
    for name in "ab":
        folder = tmp_path / f"{name}.pairs.0"
        folder.mkdir()
        (folder / "compare.json").touch()
        tasks.append(Task(name, 0, "pairs", {}, "digits-av:A", "test", str(folder)))
    (folder / "run" / "model").mkdir(parents=True)
    monkeypatch.setattr("coview.comparison.plan.plan", lambda *asked, **how: tasks)
    monkeypatch.setattr("coview.comparison.run.stored", lambda task: made)
    monkeypatch.setattr("coview.comparison.run.stored_at", lambda folder: made)
    assert main(["compare", "xid", "--data", "digits-av:A", "-o", str(tmp_path)]) == 0
    assert f"Next: coview explain --model {folder / 'run'} --collection digits-av:A" in capsys.readouterr().err


def test_few_rows_stand_out_and_controls_never_do(tmp_path: Path) -> None:
    values = {"random": 0.99, "supervised-av": 0.98, "a, shuffled": 0.97} | {f"m{k}": k / 10 for k in range(7)}
    lines = summarise(Outcome(row=name, seed=0, results=[row(f"video_probe/{name}", v)]) for name, v in values.items())
    assert best(lines, "video_probe") == ["m6", "m5", "m4", "m3"]
    assert len({colour for colour, _, _ in LOOKS}) == len({mark for _, mark, _ in LOOKS}) == len(LOOKS) == 4
    draw(lines, [], tmp_path / "figure.svg")
    drawn = (tmp_path / "figure.svg").read_text()
    assert all(colour in drawn for colour, _, _ in LOOKS)


def test_an_order_holds_where_the_interval_of_the_difference_leaves_zero_out() -> None:
    named = [("a", (0.80, 0.84)), ("b", (0.30, 0.32)), ("c", (0.79, 0.82))]
    runs = [
        Outcome(row=name, seed=seed, results=[row(f"video_probe/{name}", value)])
        for name, values in named
        for seed, value in enumerate(values)
    ]
    gains = orders(runs, [("a", "b"), ("b", "a"), ("a", "c")])
    assert [gain.value for gain in gains] == pytest.approx([0.51, -0.51, 0.015])
    assert gains[0].high - gains[0].value == pytest.approx(12.706 * 0.01, abs=1e-4)  # Student, 2 seeds
    assert gains[2].low < 0  # a difference is not cut to the range of a proportion
    lines = orders_to_markdown(gains).splitlines()
    assert [line.split()[-2] for line in lines[2:]] == ["holds", "reversed", "open"]
    assert lines[0] == "| expected | video probe |"
    with pytest.raises(UsageError, match="no run is called d"):
        orders(runs, [("a", "d")])


def comparison(tmp_path: Path, **changes: object) -> Comparison:
    known = {"methods": ("xid",), "data": "digits-av:A", "out": tmp_path, "samples": 640, "seeds": 1}
    known |= {"shuffled_seeds": 1, "supervised": True, "shared": {}, "preset": "digits", "tiny": True, "changes": ()}
    return Comparison(**{**known, **changes})


def test_changes_reach_the_methods_that_have_the_setting(tmp_path: Path) -> None:
    changes = ("*.video.frames=4", "xid.variant=in-batch", "av-vicreg.embedding=7")
    settings = base_settings(comparison(tmp_path, changes=changes), "xid")
    assert (settings.method_settings.video.frames, settings.method_settings.variant) == (4, "in-batch")
    assert settings.train.steps == 640 // settings.train.batch_size
    apart = comparison(tmp_path, shared={"optimiser": {"lr": 0.1}}, changes=("xid.optimiser.lr=0.2",))
    assert [base_settings(apart, name).optimiser.lr for name in ("xid", "av-vicreg")] == [0.2, 0.1]
    with pytest.raises(UsageError, match="lrr"):
        base_settings(comparison(tmp_path, changes=("xid.optimiser.lrr=1",)), "xid")
    with pytest.raises(UsageError, match=r"METHOD\.SETTING=VALUE"):
        apply("variant", "xid", {}, {})
    with pytest.raises(UsageError, match="varient"):
        base_settings(comparison(tmp_path, changes=("xid.varient=bank",)), "xid")
    with pytest.raises(UsageError, match="seeds"):
        comparison(tmp_path, seeds=0)
    with pytest.raises(UsageError, match="has to be a world"):
        comparison(tmp_path, data=str(tmp_path), recordings=5)
    with pytest.raises(UsageError, match="a test part of its own"):
        comparison(tmp_path, test_data=str(tmp_path))
    apart = plan(comparison(tmp_path, data="train-set", test_data="test-set"), lambda text: None)
    assert {(task.settings["collection"], task.test) for task in apart} == {("train-set", "test-set")}


@pytest.mark.slow
def test_a_world_is_rendered_for_the_number_and_the_part_that_are_asked_for(tmp_path: Path) -> None:
    asked = comparison(tmp_path, recordings=20, validate=True, supervised=False, shuffled_seeds=0)
    said: list[str] = []
    tasks = plan(asked, said.append)
    assert {(task.kind, task.part) for task in tasks} == {("pairs", "validation"), ("random", "validation")}
    assert len(MemmapSource(Path(tasks[0].settings["collection"]))) == 20
    assert len(MemmapSource(Path(tasks[0].test))) == 1000
    assert [line.split(", ")[1] for line in said] == ["train", "validation"]
    assert plan(asked, said.append) == tasks  # nothing is rendered again
    assert len(said) == 2


@pytest.mark.slow
def test_variants_and_runs_that_start_from_others(tmp_path: Path) -> None:
    asked = comparison(
        tmp_path,
        methods=("avid", "avid@self", "cma"),
        changes=("avid@self.cross=0", "avid@self.within=1", "avid.embedding=16"),
        after={"cma": "avid"},
        recordings=20,
        supervised=False,
    )
    tasks = {task.row: task for task in plan(asked, lambda text: None)}
    crosses = [tasks[name].settings["method"]["cross"] for name in ("avid", "avid@self")]
    assert crosses == [1.0, 0]
    assert [tasks[name].settings["method"]["embedding"] for name in ("avid", "avid@self", "cma")] == [16, 16, 128]
    assert tasks["cma"].start == str(tmp_path / "runs" / "avid.pairs.0" / "run")
    assert tasks["cma, shuffled"].start == str(tmp_path / "runs" / "avid.shuffled.0" / "run")
    assert tasks["avid@self"].start is None
    with pytest.raises(UsageError, match="cma starts from another run"):
        comparison(tmp_path, after={"cma": "avid", "avid": "cma"})


@pytest.mark.slow
def test_a_comparison_from_the_command_line_is_resumable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(synthetic.COUNTS, "digits-av", {"train": 128, "validation": 48, "test": 48})
    words = ["compare", "xid", "vicreg-video", "--data", "digits-av:A", "--tiny", "--preset", "digits"]
    words += ["--samples", "64", "--seeds", "1", "-o", str(tmp_path / "c"), "--json"]
    assert main(words) == 0
    first = json.loads(capsys.readouterr().out)
    assert {"video_probe/xid", "video_probe/random", "video_probe/supervised-av", "video_probe/xid, shuffled"} <= {
        line["name"] for line in first["results"]
    }
    assert "second picture" in first["not_run"]["vicreg-video"]  # the world's clips are too short for it
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "c" / "runs").rglob("compare.json")}
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert main([*words, "--set", "xid.temperature=0.2"]) == 2
    assert "other settings" in capsys.readouterr().err


def test_a_run_of_a_comparison_reads_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "collection.json").touch()
    run = dataclasses.replace(recommended("xid", tiny=True), collection=str(tmp_path))
    assert resolve(run, device="cpu", rows=64, world=1).train.workers > 0
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    assert resolve(run, device="cpu", rows=64, world=1).train.workers == 0


@pytest.mark.slow
def test_media_files_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = [
        "--samples",
        "64",
        "--seeds",
        "1",
        "--shuffled-seeds",
        "0",
        "--no-supervised",
        "--jobs",
        "2",
        "-o",
        str(tmp_path / "c"),
    ]
    assert main(["compare", "xdc", "--data", str(collection()), "--tiny", "--set", "xdc.clusters=4", *few]) == 0
    said = capsys.readouterr()
    assert "| xdc | " in said.out and "Fitted to" in said.err and "train.batch_size" in said.err


@pytest.mark.slow
def test_in_python_nothing_is_made_twice_and_a_run_says_what_it_has_seen(tmp_path: Path) -> None:
    options: dict[str, Any] = {"samples": 64, "seeds": 1, "shuffled_seeds": 1, "supervised": False, "tiny": True}
    lines = coview.compare(["xid"], collection(), tmp_path, **options)
    assert [line.row for line in lines] == ["xid", "xid, shuffled", "random"]
    assert coview.compare(["xid"], collection(), tmp_path, **options) == lines
    run = next(path.parent for path in tmp_path.rglob("run/settings.yaml") if "shuffled" in str(path))
    seen = coview.evaluate("retrieval", run, collection(), test_split="train")
    assert any("has learnt from what it is measured on" in why for _, why in seen.problems)
    assert seen.results and all("shuffled" in row.name for row in seen.results)

"""`coview pretrain`: reading of files and options, refusals, dry run; and one real run from the command line's side."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
import yaml

from coview.cli.options import read_run
from coview.cli.pretrain import main, shown
from coview.data.augment import PRESETS
from coview.data.index import index_source
from coview.data.memmap import fill
from coview.data.open import open_source
from coview.data.synthetic.digits import DigitsWorld
from coview.errors import SettingsError, UsageError
from coview.media.encode import write_clip
from coview.methods import load_method
from coview.methods.xid import XIDSettings
from coview.training.settings import load_run, recommended, run_to_dict

WORLD = ["--collection", "digits-av:A"]
SMALL = [*WORLD, "--tiny", "--preset", "digits", "--train.device", "cpu", "--train.batch-size", "16"]


def read(method, words):
    asked = read_run("pretrain", method, words, "")
    return asked.arguments, asked.settings


def test_help_lists_the_methods(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert "xid" in said and "av-vicreg" in said and "Examples:" in said
    assert main([]) == 2
    with pytest.raises(SystemExit) as ended:
        main(["xid", "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for flag in ("--method.temperature", "--train.batch-size", "--schedule.warm-up", "--augment.flip", "--init-from"):
        assert flag in said, flag


def test_options_reach_the_settings():
    options = ["--method.negatives", "64", "--train.steps", "5", "--optimiser.kind", "lars", "--split", "None"]
    arguments, settings = read("xid", ["-o", "run", *SMALL, *options])
    assert str(arguments.out) == "run"
    assert settings.method == "xid" and isinstance(settings.method_settings, XIDSettings)
    assert settings.method_settings.video_encoder == "video-tiny" and settings.method_settings.negatives == 64
    assert settings.train.steps == 5 and settings.optimiser.kind == "lars" and settings.split is None
    assert settings.augment == PRESETS["digits"]


def test_a_file_comes_before_the_options(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("method: {name: xid, negatives: 64, hard: {nearest: 5}}\ncollection: here\ntrain: {steps: 7}\n")
    _, settings = read("xid", ["-o", "run", "--settings", str(path), "--train.batch-size", "8"])
    assert (settings.method_settings.negatives, settings.train.steps, settings.train.batch_size) == (64, 7, 8)
    assert settings.method_settings.hard.nearest == 5 and settings.collection == "here"
    with pytest.raises(UsageError, match="its method is 'xid'"):
        read("av-vicreg", ["-o", "run", f"--settings={path}"])
    path.write_text("method: {name: xid, negativs: 64}\ncollection: here\ntrain: {stps: 7}\n")
    with pytest.raises(SettingsError) as wrong:
        read("xid", ["-o", "run", "--settings", str(path)])
    assert len(wrong.value.problems) == 2 and "'negatives'" in str(wrong.value) and "'steps'" in str(wrong.value)


def test_a_whole_file_of_a_former_version_is_not_filled_from_a_recipe(tmp_path):
    for method in ("xid", "dcca", "swav"):
        whole = run_to_dict(replace(recommended(method), collection="here"))
        del whole["optimiser"]["decay"], whole["schedule"]["warm_up_from"]
        path = tmp_path / method / "settings.yaml"
        path.parent.mkdir()
        path.write_text(yaml.safe_dump(whole))
        for words in (["-o", "run", "--settings", str(path)], ["-o", str(path.parent), "--resume"]):
            settings = read(method, words)[1]
            assert settings == load_run(path) and settings.optimiser.decay is None


def test_wrong_use():
    with pytest.raises(UsageError, match="did you mean 'xid'"):
        main(["xidd", "-o", "run"])
    with pytest.raises(SettingsError, match="--collection"):
        main(["xid", "-o", "run"])
    with pytest.raises(UsageError) as wrong:
        main(["xid", "-o", "run", *WORLD, "--train.epoch", "3", "--optimiser.lrr", "1"])
    assert wrong.value.exit_code == 2
    assert "--train.epochs?" in str(wrong.value) and "--optimiser.lr?" in str(wrong.value)


def test_dry_run(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["xid", "-o", str(out), *SMALL, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert not out.exists()
    assert plan["negatives"] == 1024 and plan["coupling"] == "bank"
    assert plan["views"]["video"]["model"] == ["B", 3, 8, 32, 32] and plan["views"]["audio"]["raw"] == ["B", 16000]
    assert plan["parameters"]["encoders.video"] > 0 and plan["settings"]["train"]["device"] == "cpu"
    parts = dict(plan["memory_megabytes"])
    assert parts.pop("together, per process") == pytest.approx(sum(parts.values()), abs=0.5)
    assert main(["av-vicreg", "-o", str(out), *SMALL, "--dry-run"]) == 0
    assert "negatives: null" in capsys.readouterr().out


def test_a_dry_run_says_where_each_value_comes_from(tmp_path, capsys):
    path = tmp_path / "some.yaml"
    path.write_text("method: {name: swav, queue: 64}\ntrain: {epochs: 7}\n")
    words = [
        "swav",
        "-o",
        "run",
        "--collection",
        "digits-av:A",
        "--tiny",
        "--settings",
        str(path),
        "--preset",
        "digits",
    ]
    options = ["--optimiser.lr", "0.25", "--train.batch-size", "64", "--dry-run"]
    assert main([*words, *options, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    origins = plan["origins"]
    assert set(origins) >= {"method.prototypes", "augment.flip", "collection", "train.workers", "optimiser.kind"}
    for name, origin in {
        "method.queue": str(path),
        "train.epochs": str(path),
        "augment.flip": "preset digits",
        "optimiser.lr": "option",
        "train.batch_size": "option",
        "optimiser.kind": "tiny recipe of swav",
        "method.prototypes": "tiny recipe of swav",
        "train.device": "computed",
        "seed": "default",
    }.items():
        assert origins[name] == origin, name
    assert plan["settings"]["method"]["queue"] == 64 and plan["settings"]["train"]["epochs"] == 7
    assert main([*words, *options]) == 0
    assert "preset digits: [augment.*]" in " ".join(capsys.readouterr().out.split())


def test_the_recipe_of_the_method_is_where_a_run_starts():
    for method in ("swav", "xid", "dcca"):
        recipe = load_method(method).recipe()
        settings = read(method, ["-o", "r", "--collection", "c"])[1]
        assert (settings.optimiser, settings.schedule, settings.augment) == (
            recipe.optimiser,
            recipe.schedule,
            recipe.augment,
        )
        assert (settings.train.epochs, settings.train.batch_size) == (recipe.epochs, recipe.batch_size)
    with pytest.raises(UsageError, match=r"no recipe of augmentation 'digit'; did you mean 'digits'"):
        read("xid", ["-o", "r", *WORLD, "--preset", "digit"])


def test_a_run_is_resumed_by_its_folder_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("coview.evaluation.exhibits.LOOKED_AT", 24)
    out = str(tmp_path / "run")
    assert main(["xid", "-o", out, *SMALL, "--train.steps", "2", "--json"]) == 0
    said = capsys.readouterr()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "show the test part (1500 recordings), other recordings than in training by their ids" in page
    assert "unseen" not in page  # a world has no files to compare
    assert json.loads(said.out)["steps"] == 2 and "2 steps of 16" in said.err and "digits-av:A" in said.err
    monkeypatch.setattr("coview.evaluation.report.write_report", lambda run, **shown: run / "report.html")
    assert main(["xid", "-o", out, "--resume", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 2

    def no_room(run, **shown):
        raise OSError("No space left on device")

    monkeypatch.setattr("coview.evaluation.report.write_report", no_room)
    assert main(["xid", "-o", out, "--resume", "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["report"] is None and "the report could not be made: No space" in said.err
    with pytest.raises(UsageError, match=r"train\.steps: 2 -> 3"):
        main(["xid", "-o", out, "--resume", "--train.steps", "3"])
    with pytest.raises(UsageError, match="not empty"):
        main(["xid", "-o", out, *SMALL])


def test_the_report_shows_what_training_has_not_seen_where_there_is_such_a_part(tmp_path):
    views = DigitsWorld("A", "train", 4).views
    cases = {"train": ("test", "the test part"), "test": ("validation", "the validation part")}
    for split, (unseen, said) in cases.items():
        settings = read("xid", ["-o", "r", *SMALL, "--split", split])[1]
        trained = open_source("digits-av:A", views, split=split)
        source, note = shown(settings, views, trained)
        assert source.ids[0].startswith(unseen) and said in note
    stored = fill(DigitsWorld("A", "train", 4), tmp_path / "m")
    settings = read("xid", ["-o", "r", "--tiny", "--collection", str(stored)])[1]
    trained = open_source(str(stored), views)
    source, note = shown(settings, views, trained)
    assert source is trained and "was trained on" in note


def test_a_collection_that_has_nothing_for_a_view_is_refused_before_a_run_is_made(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for index in range(3):
        write_clip(tmp_path / "in" / f"{index}.mp4", torch.zeros(3, 16, 32, 32, dtype=torch.uint8), 16.0, None, 16000)
    index_source(str(tmp_path / "in"), tmp_path / "c", workers=0)
    words = ["--collection", str(tmp_path / "c"), "--tiny", "-o", str(tmp_path / "run"), "--split", "None"]
    for more in ([], ["--dry-run"]):
        with pytest.raises(UsageError, match="none of its 3 recordings has what xid wants as 'audio'"):
            main(["xid", *words, "--train.batch-size", "2", *more])
    assert not (tmp_path / "run").exists()
    assert main(["vicreg-video", *words, "--train.batch-size", "2", "--dry-run"]) == 0

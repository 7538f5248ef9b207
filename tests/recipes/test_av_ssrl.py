"""The published configurations of AV-SSRL, number by number."""

import dataclasses

import pytest
import torch

from coview.cli.main import main as main_of_all
from coview.cli.options import read_run
from coview.cli.pretrain import main
from coview.errors import UsageError
from coview.methods import build
from coview.methods.contract import Facts
from coview.recipes import EVALUATIONS, RUNS, evaluation_recipe, run_recipe
from coview.training.settings import run_from_dict, run_to_dict

PARAMETERS = {
    "av_ssrl.xid": 21_286_784,
    "av_ssrl.vicreg": 91_465_344,
    "av_ssrl.vicreg_video": 15_379_136 + 35_680_256,
    "av_ssrl.supervised": 15_379_136 + 4_725_696 + 1024 * 309 + 309,
}


@pytest.mark.parametrize("name", RUNS)
def test_every_run_is_whole_and_has_the_published_size(name):
    settings = run_recipe(name)
    assert run_from_dict(run_to_dict(settings)) == settings
    with torch.device("meta"):
        method = build(settings.method, settings.method_settings, Facts(rows=50000, classes=309))
    assert sum(p.numel() for p in method.parameters()) == PARAMETERS[name]
    assert method.views["video"].seconds == 1.0 and method.views["video"].size == 224
    assert settings.clips_per_recording == 5 and settings.train.batch_size == 32
    assert settings.optimiser.kind == "adam" and settings.optimiser.lr == 5e-4 and settings.schedule.gamma == 0.9


def test_xid_s_numbers():
    settings = run_recipe("av_ssrl.xid")
    own = settings.method_settings
    assert (own.negatives, own.momentum, own.q, own.q_max, own.density, own.temperature) == (
        1024, 0.5, 0.001, 0.4, 0.01, 0.07,
    )  # fmt: skip
    assert own.hard is None and own.hidden == (512, 512) and own.embedding == 128
    assert (own.audio.seconds, own.audio.sample_rate, own.audio.mels, own.audio.normalise) == (
        2.0,
        16000,
        128,
        "statistics",
    )
    assert settings.optimiser.weight_decay == 1e-5 and settings.train.epochs == 100
    assert not settings.train.sync_batchnorm and settings.train.precision == "float32"
    assert [round(100 * m) for m in settings.schedule.milestones] == [10, 20, 30, 40, 50, 60, 70, 80, 90]


def test_the_others_differ_where_the_published_ones_do():
    for name in ("av_ssrl.vicreg", "av_ssrl.vicreg_video"):
        settings = run_recipe(name)
        assert settings.optimiser.weight_decay == 1e-6 and settings.train.sync_batchnorm
        assert settings.train.precision == "bf16" and settings.train.epochs == 100
        weights = settings.method_settings
        assert (weights.invariance, weights.variance, weights.covariance) == (25, 25, 1)
    assert run_recipe("av_ssrl.vicreg_video").method_settings.later == (2.0, 8.0)
    supervised = run_recipe("av_ssrl.supervised")
    assert [round(50 * m) for m in supervised.schedule.milestones] == [10, 20, 30, 40]


def test_evaluations():
    rows = {name: evaluation_recipe(name) for name in EVALUATIONS}
    for how in rows.values():
        assert how.changes == {"frames": 8, "size": 224} and how.batch_size == 32 and how.lr == 1e-4
        assert how.gamma == 0.3 and how.windows == 10 and how.weight_decay == 0

    def epochs(how):
        return [
            how.epochs,
            how.warm_up_epochs,
            how.clips_per_recording,
            *(round(how.epochs * m) for m in how.milestones),
        ]

    assert epochs(rows["av_ssrl.ucf_fine_tune"]) == [16, 5, 10, 6, 10, 14]
    assert epochs(rows["av_ssrl.hmdb_fine_tune"]) == [10, 0, 25, 3, 6, 8]
    assert epochs(rows["av_ssrl.ucf_random"]) == [100, 5, 10, 30, 60, 80]
    assert epochs(rows["av_ssrl.hmdb_random"]) == [100, 0, 25, 30, 60, 80]
    assert rows["av_ssrl.hmdb_fine_tune"].augment.brightness == 1.0
    linear = rows["av_ssrl.ucf_linear"]
    assert epochs(linear) == [50, 0, 1, 20, 30, 40] and linear.frozen and linear.dropout == 0
    assert linear.augment.brightness == 0 and linear.augment.flip == 0.5
    side = 258 * linear.augment.crop_area[0] ** 0.5  # of the decoded square
    assert side == pytest.approx(224)


def test_a_recipe_starts_a_run_and_options_change_it():
    options = ["-o", "run", "--recipe", "av_ssrl.xid", "--collection", "c", "--train.epochs", "3"]
    settings = read_run("pretrain", "xid", options, "").settings
    assert settings == dataclasses.replace(
        run_recipe("av_ssrl.xid"), collection="c", train=dataclasses.replace(run_recipe("av_ssrl.xid").train, epochs=3)
    )
    with pytest.raises(UsageError, match="its method is 'av-vicreg', not 'xid'"):
        read_run("pretrain", "xid", ["-o", "run", "--recipe", "av_ssrl.vicreg", "--collection", "c"], "")
    with pytest.raises(UsageError, match="either --recipe or --settings"):
        read_run("pretrain", "xid", [*options, "--settings", __file__], "")
    with pytest.raises(UsageError, match=r"did you mean 'av_ssrl.xid'"):
        main(["--recipe", "av_ssrl.xids", "-o", "run"])
    with pytest.raises(UsageError, match=r"Known here: av_ssrl\.ucf_linear"):
        evaluation_recipe("nothing")


def test_the_method_need_not_be_said_twice(capsys):
    tiny = ["--collection", "digits-av:A", "--tiny", "--train.device", "cpu", "--dry-run"]
    assert main(["--recipe", "av_ssrl.vicreg", "-o", "run", *tiny]) == 0
    said = capsys.readouterr().out
    assert "av-vicreg" in said
    assert main(["--help"]) == 0 and "av_ssrl.vicreg_video" in capsys.readouterr().out


def test_statistics_take_a_recipe(tmp_path, capsys):
    assert main_of_all(["stats", "digits-av:A", "--recipe", "av_ssrl.xids", "-o", str(tmp_path / "s.json")]) == 2
    assert "did you mean 'av_ssrl.xid'" in capsys.readouterr().err

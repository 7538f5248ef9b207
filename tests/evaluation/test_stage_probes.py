"""Probes of all stages: the published dimensions, no gradient to the encoder, and the order that must hold."""

import dataclasses
from itertools import pairwise
from pathlib import Path

import coloured
import pytest
import torch
from torch.testing import assert_close

from coview.data.augment import PRESETS, AugmentSettings
from coview.data.preprocess import Preprocess
from coview.encoders import Encoder
from coview.encoders.alexnet import AlexNet
from coview.encoders.caffenet import CaffeNet
from coview.errors import UsageError
from coview.evaluation.controls import random_weights
from coview.evaluation.stage_probes import Probing, kept_start, probed_views, stage_probes, start_of
from coview.evaluation.statistics import Measurement
from coview.methods import build, views_of
from coview.methods.classifier import ClassifierSettings
from coview.methods.colorization import ColorizationSettings
from coview.methods.contract import Facts
from coview.methods.stage_probes import Probes, Reduced, StageProbes, StageProbesSettings, windows
from coview.model import Model
from coview.settings import to_dict
from coview.training.loop import train
from coview.training.settings import OptimiserSettings, RunSettings, ScheduleSettings, TrainSettings

PUBLISHED = {
    "conv1": 9600, "pool1": 9600, "conv2": 9216, "pool2": 9216, "conv3": 9600, "conv4": 9600, "conv5": 9216,
    "pool5": 9216,
}  # fmt: skip


@pytest.mark.parametrize("form", ["bilinear", "average"])
@pytest.mark.parametrize("network", [CaffeNet, lambda: AlexNet(padded=False)], ids=["caffenet", "alexnet"])
def test_published_dimensions_from_227_pixels(network: type[Encoder], form: str) -> None:
    with torch.no_grad():
        maps = network().eval().feature_maps(torch.zeros(1, 3, 227, 227))
    probes = Probes({stage: tuple(map_.shape[1:]) for stage, map_ in maps.items()}, 5, form, 9600)
    assert {stage: probe[0].dim for stage, probe in probes.items()} == PUBLISHED
    assert [probe[0].size[0] for probe in probes.values()] == [10, 10, 6, 6, 5, 5, 6, 6]
    with torch.no_grad():
        assert all(scores.shape == (1, 5) for scores in probes.eval().scores(maps).values())


def test_means_are_over_the_published_windows() -> None:
    assert windows((55, 55), [10, 10]) == ([19, 19], [4, 4])
    assert windows((27, 27), [6, 6]) == ([12, 12], [3, 3])
    assert windows((13, 13), [5, 5]) == ([9, 9], [1, 1])
    assert windows((13, 13), [6, 6]) == ([8, 8], [1, 1])


def test_maps_that_are_small_stay_and_normalisation_has_no_scale() -> None:
    reduced = Reduced((4, 3, 3), "bilinear", 9600)
    x = 7 * torch.randn(16, 4, 3, 3) + 5
    out = reduced(x).unflatten(1, (4, 9))
    assert_close(out.mean((0, 2)), torch.zeros(4), rtol=0, atol=1e-5)
    assert_close(out.std((0, 2), correction=0), torch.ones(4), rtol=0, atol=1e-4)
    assert not list(reduced.parameters())


def test_no_gradient_and_no_statistic_reaches_the_encoder() -> None:
    settings = StageProbesSettings(
        base="colorization", base_settings={"encoder": "image-tiny", "image": {"size": 32}}, view="lightness",
        numbers=128,
    )  # fmt: skip
    method = build("stage-probes", settings, Facts(rows=8, classes=3))
    assert isinstance(method, StageProbes)
    before = {name: value.clone() for name, value in method.encoder.state_dict().items()}
    method.train()
    method(method.example_batch(8, 0)).loss.backward()
    assert all(parameter.grad is None for parameter in method.encoder.parameters())
    assert all(parameter.grad is not None for parameter in method.probes.parameters())
    assert all(torch.equal(before[name], value) for name, value in method.encoder.state_dict().items())
    assert method.lr_scale("projectors.lightness.conv1.1.bias") == 2
    with pytest.raises(UsageError, match=r"no stage conv9; it has conv1"):
        build("stage-probes", dataclasses.replace(settings, stages=("conv9",)), Facts(rows=8, classes=3))


def test_probes_do_not_see_what_rescaling_changes(tmp_path: Path) -> None:
    how = Probing(view="lightness", numbers=128)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        method = build("colorization", ColorizationSettings.tiny(), Facts(rows=16))
    train = coloured.source(16, 0, dict(method.views))
    model = Model.of(method, Preprocess(method.views, AugmentSettings()), train)
    ways = [dataclasses.replace(how, rescale=each) for each in (False, True)]
    start = start_of(model, train, ways[1])
    plain, again = start_of(model, train, ways[0]).method, start.method
    assert isinstance(plain, StageProbes) and isinstance(again, StageProbes)
    x = 1000 * torch.randn(8, *plain.views["lightness"].shape, generator=torch.Generator().manual_seed(1))
    before, after = (each.encoder.feature_maps(x)["conv4"] for each in (plain, again))
    assert not any("running_var" in name for name in again.encoder.state_dict())
    assert_close(after / after.std(), before / before.std())
    assert not torch.allclose(after.std(), before.std(), rtol=0.1)
    said = [{stage: scores.detach() for stage, scores in each.scores(x).items()} for each in (plain, again)]
    assert_close(said[1], said[0], rtol=0, atol=0.01)
    # Another number of threads rounds it differently: the start that was trained from counts. Another model is another.
    assert not kept_start(tmp_path / "start", start, ways[1])
    start.save(tmp_path / "start")
    for factor, kept in ((1 + 1e-6, True), (1.5, False)):
        with torch.no_grad():
            for parameter in start.method.encoders["lightness"].parameters():
                parameter.mul_(factor)
        assert kept_start(tmp_path / "start", start, ways[1]) is kept
    assert not kept_start(tmp_path / "start", start, ways[0])


LOOK = dataclasses.replace(PRESETS["none"], crop_area=(0.8, 1.0), flip=0.5)
BASE = ColorizationSettings.tiny()


def trained(method: str, settings: object, steps: int, seed: int, out: Path) -> Model:
    run = RunSettings(
        method=method, method_settings=settings, collection="things", seed=seed, augment=LOOK,
        train=TrainSettings(steps=steps, batch_size=64, device="cpu", workers=0, checkpoint_every=10**6, keep=1),
        optimiser=OptimiserSettings(kind="adam", lr=2e-3), schedule=ScheduleSettings(kind="cosine"),
    )  # fmt: skip
    train(run, out, source=coloured.source(1500, seed, dict(views_of(method, settings))), quiet=True)
    return Model.from_run(out)


@pytest.mark.slow
def test_labels_beat_the_pretext_task_which_beats_random_weights_which_beat_chance(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    seed = 0
    pretext = trained("colorization", BASE, 100, seed, tmp_path / "pretext")
    learnt = ClassifierSettings(base="colorization", base_settings=to_dict(BASE), view="lightness", dropout=0.0)
    labels = trained("classifier", learnt, 200, seed, tmp_path / "labels").method.encoders["lightness"]
    ceiling = build("colorization", BASE, Facts(rows=16))
    ceiling.encoders["lightness"].load_state_dict(labels.state_dict())
    how = Probing(
        view="lightness", stages=("conv2", "conv4"), numbers=512, epochs=8, batch_size=64, augment=LOOK, workers=0,
        seed=seed,
    )  # fmt: skip
    views = dict(probed_views(pretext, how))
    fit = coloured.source(600, seed + 100, views)
    models = {
        "labels": Model(ceiling, pretext.preprocess, pretext.about),
        "pretext": pretext,
        "random": random_weights(pretext, fit, seed=seed),
    }
    best: dict[str, Measurement] = {}
    for name in (*models, "shuffled"):
        shuffled = name == "shuffled"
        parts = (coloured.source(count, seed + add, views, shuffled) for count, add in ((600, 100), (500, 200)))
        result = stage_probes(models.get(name, pretext), *parts, tmp_path / f"probe-{name}", how, name=name)
        figures = [m for m in result.results if "top5" not in m.name]
        assert [m.name for m in figures] == [f"lightness_bilinear@{stage}/{name}" for stage in ("conv2", "conv4")]
        assert all(m.chance == pytest.approx(0.1) and m.n == 500 for m in figures)
        best[name] = max(figures, key=lambda m: m.value)
        if shuffled:
            assert all(m.low is not None and m.low <= 0.1 for m in figures)
    order = [best[name] for name in ("labels", "pretext", "random")]
    assert all((better.low or 0) > (worse.high or 1) for better, worse in pairwise(order))
    assert (best["random"].low or 0) > 0.1

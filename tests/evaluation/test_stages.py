import pytest
import torch
from measured import tiny_model

from coview.data.synthetic.digits import DigitsWorld
from coview.errors import UsageError
from coview.evaluation.bench import Bench
from coview.evaluation.linear_probe import linear_probe
from coview.evaluation.stages import AVID_SOUND_STAGES, AVID_STAGES, Stage, parse_stage, stage_features, stages_of


def test_stages_by_name() -> None:
    assert parse_stage("conv4x") == Stage(name="conv4x")
    assert parse_stage("conv4x:mean:1x6x6:unit") == Stage(
        name="conv4x", pooling="mean", grid=(1, 6, 6), normalise="unit"
    )
    for wrong in ("conv4x:median", "conv4x:max:0x2", "conv4x:max:axb", "c:max:1:unit:more", "c:max:1x1x1x1"):
        with pytest.raises(UsageError, match="expected NAME"):
            parse_stage(wrong)


def test_the_published_cells_give_the_published_lengths() -> None:
    maps = {"conv2x": (64, 8, 28), "conv3x": (128, 4, 14), "conv4x": (256, 2, 7), "conv5x": (512, 1, 4)}
    lengths = [
        stage.pool(torch.zeros(2, c, t, side, side)).shape[1]
        for stage, (c, t, side) in zip(AVID_STAGES, maps.values(), strict=True)
    ]
    assert lengths == [9216, 8192, 9216, 8192]
    sounds = [stage.pool(torch.zeros(2, maps[stage.name][0], 25, 33)).shape[1] for stage in AVID_SOUND_STAGES]
    assert sounds == [9216, 8192, 9216, 8192]


def test_pooling_takes_the_largest_or_the_mean_of_each_cell() -> None:
    maps = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).reshape(1, 2, 3, 4, 4)
    assert Stage(name="s").pool(maps).tolist() == [[47.0, 95.0]]
    assert Stage(name="s", pooling="mean").pool(maps).tolist() == [[23.5, 71.5]]
    cells = Stage(name="s", grid=(1, 2, 2)).pool(maps)
    assert cells.shape == (1, 8)
    assert cells[0, 0] == maps[0, 0, :, :2, :2].max()


def test_all_stages_come_from_one_pass_and_are_named() -> None:
    model, world = tiny_model(), DigitsWorld("A", "train", 6)
    batch = world.read_window(torch.arange(6), 0, 1)
    stages = {view: stages_of(model, view, ["all", "conv2:mean:1:unit"]) for view in ("video", "audio")}
    found = stage_features(model, stages)(batch)
    maps = model.feature_maps(batch)
    assert set(found) == {f"{view}/{stage}" for view, own in stages.items() for stage in own}
    assert torch.equal(found["video/conv3:max:1:standardise"], maps["video"]["conv3"].amax((2, 3, 4)))
    assert torch.allclose(found["audio/conv2:mean:1:unit"].norm(dim=1), torch.ones(6))


def test_every_stage_has_a_probe_of_its_own() -> None:
    with Bench(tiny_model(), DigitsWorld("A", "train", 60), DigitsWorld("A", "test", 20), name="x") as bench:
        linear_probe(bench, stages=["conv1:max:1x2x2", "conv4:mean:1:none"])
    names = {m.name for m in bench.result.results if "top5" not in m.name}
    views = ("video", "audio")
    assert names == {f"{view}_probe{stage}/x" for view in views for stage in ("", "@conv1", "@conv4")}
    assert bench.result.choices["video_probe@conv4"]["standardised"] == "no"
    assert bench.result.choices["video_probe@conv1"]["features"] == "video/conv1:max:1x2x2:standardise"
    with pytest.raises(UsageError, match="no encoder has a stage"), bench:
        linear_probe(bench, stages=["conv9"])

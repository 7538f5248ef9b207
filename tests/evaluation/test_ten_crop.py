import dataclasses
from pathlib import Path

import pytest
import torch

from coview.data.augment import AugmentSettings
from coview.data.preprocess import Preprocess
from coview.data.synthetic.digits import DigitsWorld
from coview.embedding.extract import extract
from coview.errors import UsageError
from coview.evaluation.bench import Bench
from coview.evaluation.fine_tune import FineTune, fine_tune, views_of
from coview.evaluation.linear_probe import linear_probe
from coview.evaluation.ten_crop import extract_ten_crops, ten_crops
from coview.methods import build
from coview.methods.contract import Facts
from coview.methods.xid import XIDSettings
from coview.model import Model


def roomy(margin: float = 1.25) -> Model:
    own = XIDSettings.tiny()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        settings = dataclasses.replace(own, video=dataclasses.replace(own.video, margin=margin))
        method = build("xid", settings, Facts(rows=16, classes=10))
    return Model.of(method, Preprocess(method.views, AugmentSettings()), DigitsWorld("A", "train", 16))


def parts(model: Model) -> tuple[DigitsWorld, DigitsWorld]:
    return DigitsWorld("A", "train", 30, 0, model.views), DigitsWorld("A", "test", 9, 0, model.views)


def test_corners_middle_and_their_mirrors() -> None:
    frames = torch.arange(36.0).reshape(1, 1, 1, 6, 6).expand(2, 3, 1, 6, 6)
    crops = ten_crops(frames, 4, torch.tensor([True, False]))
    assert [int(crop[0, 0, 0, 0, 0]) for crop in crops[:5]] == [0, 2, 12, 14, 7]
    assert all(crop.shape == (2, 3, 1, 4, 4) for crop in crops)
    for plain, mirrored in zip(crops[:5], crops[5:], strict=True):
        assert torch.equal(mirrored[0], plain[0].flip(-1))
        assert torch.equal(mirrored[1], plain[1])  # writing and the like is never mirrored


def test_the_middle_crop_is_the_usual_one_and_crops_are_windows() -> None:
    model = roomy()
    source = parts(model)[1]
    how = {"windows": 2, "space": "backbone", "batch_size": 4}
    found = extract_ten_crops(model, source, progress=lambda done, total: None, **how)
    plain = extract(model, source, **how)
    count = plain.clips["video"].shape[1]
    assert found.clips["video"].shape == (9, 10 * count, plain.clips["video"].shape[2])
    assert list(found.clips) == ["video"]
    for window in range(count):
        own = found.clips["video"][:, 10 * window : 10 * window + 10]
        torch.testing.assert_close(own[:, 4], plain.clips["video"][:, window], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(own[:, 0], own[:, 4], rtol=1e-3)


def test_probes_and_fine_tuning_are_tested_on_them(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    model = roomy()
    train, test = parts(model)
    with Bench(model, train, test, name="x") as bench:
        linear_probe(bench, ten_crop=True)
    names = {m.name for m in bench.result.results}
    assert {"video_probe_10crop/x", "video_probe_10crop_top5/x", "video_probe/x"} <= names
    assert "audio_probe_10crop/x" not in names
    how = FineTune(epochs=1, warm_up_epochs=0, batch_size=8, clips_per_recording=1, windows=1, workers=0, ten_crop=True)
    views = views_of(model, how)
    tuned = [DigitsWorld("A", split, 16, 0, views) for split in ("train", "test")]
    result = fine_tune(model, tuned[0], tuned[1], tmp_path, how, name="x")
    assert "video_finetune_10crop/x" in {m.name for m in result.results}


def test_without_a_margin_there_is_nothing_to_cut() -> None:
    model = roomy(1.0)
    train, test = parts(model)
    with (
        pytest.raises(UsageError, match="video is decoded at the model's own size"),
        Bench(model, train, test, name="x") as b,
    ):
        linear_probe(b, ten_crop=True)

"""Clusters, maps of the sound, pointing, and the page that shows them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from measured import tiny_model
from torch import nn

from coview.cli.main import main
from coview.data.augment import AugmentSettings
from coview.data.preprocess import Preprocess
from coview.data.synthetic.digits import DigitsWorld
from coview.data.synthetic.objects import ObjectsWorld
from coview.errors import UsageError
from coview.evaluation.explain import agreement, explain
from coview.evaluation.pointing import pointing, sound_maps, unlike_pairs
from coview.methods import build
from coview.methods.ambient_sound import AmbientSoundSettings
from coview.methods.contract import Facts
from coview.methods.xid import XIDSettings
from coview.model import Model
from coview.randomness import make_key, uniform


@pytest.fixture(scope="module")
def objects():
    settings = replace(XIDSettings.tiny(), video_encoder="video-tiny")
    return ObjectsWorld(split="test", count=60, views={"video": settings.video, "audio": settings.audio})


def test_agreement_of_clusters_and_labels():
    labels = torch.tensor([0, 0, 1, 1, 2, -1])
    purity, nmi = agreement(torch.tensor([2, 2, 0, 0, 1, 1]), labels, "video", "xid", 0)
    assert (purity.value, purity.n, nmi.value) == (1.0, 5, pytest.approx(1.0))
    single, none = agreement(torch.zeros(6, dtype=torch.int64), labels, "video", "xid", 0)
    assert (single.value, single.chance, none.value) == (pytest.approx(0.4), pytest.approx(0.4), 0.0)
    assert agreement(torch.zeros(2, dtype=torch.int64), torch.tensor([-1, -1]), "video", "xid", 0) == []


def test_clusters_drawn_at_random_are_at_chance():
    labels, clusters = torch.arange(60) % 5, (uniform(make_key(3, torch.arange(60)), 1) * 20).long()
    purity, nmi = agreement(clusters, labels, "video", "xid", 0)
    assert purity.low < purity.chance < purity.high and purity.chance > 0.3
    assert nmi.value == pytest.approx(nmi.chance, abs=0.1) and nmi.chance > 0.2


def test_recordings_of_one_label_cannot_be_pointed_at():
    world = DigitsWorld("A", "test", 2)
    world.labels = torch.zeros_like(world.labels)
    with pytest.raises(UsageError, match="pointing needs recordings of two labels"):
        unlike_pairs(world, 1000)


def test_neighbours_have_unlike_labels_and_everyone_is_used(objects):
    pairs = unlike_pairs(objects, 1000)
    assert (objects.labels[pairs[:, 0]] != objects.labels[pairs[:, 1]]).all()
    assert len(pairs) > 35
    assert len(set(pairs[:, 0].tolist())) == len(pairs)


class Bright(nn.Module):
    """Stands for the picture's encoder: the brightness at every place of a 4 x 4 grid."""

    dim, stages = 1, ("map",)

    def feature_maps(self, x):
        return {"map": nn.functional.avg_pool3d(x.mean(1, keepdim=True), (x.shape[2], 8, 8))}

    def pool(self, maps):
        return torch.cat([maps.mean((2, 3, 4)), torch.ones_like(maps[:, :, 0, 0, 0])], 1)


class One(nn.Module):
    """Stands for the sound's encoder: every sound is "bright"."""

    dim = 2

    def forward(self, x):
        return torch.tensor([[1.0, 0.0]]).expand(len(x), 2)


def test_the_map_is_highest_where_the_picture_is_like_the_sound():
    model = tiny_model()
    model.method.encoders = nn.ModuleDict({"video": Bright(), "audio": One()})
    model.method.projectors = nn.ModuleDict()
    video = torch.zeros(2, 3, 8, 32, 64)
    video[0, :, :, 8:16, 40:48] = 1
    video[1, :, :, 24:, :8] = 1
    maps = sound_maps(model, {"video": video, "audio": torch.zeros(2, 1, 40, 80)})
    assert maps.shape == (2, 1, 4, 8)
    assert [divmod(int(m.argmax()), 8) for m in maps] == [(1, 5), (3, 0)]


def test_an_untrained_network_points_anywhere(objects):
    figure = pointing(tiny_model(), objects, name="xid")
    assert figure.chance == 0.5
    assert figure.low < 0.6
    assert figure.n == len(unlike_pairs(objects, 1000))


@pytest.mark.slow
def test_the_page_has_clusters_maps_and_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_model().save(tmp_path / "model")
    words = ["explain", "--model", str(tmp_path / "model"), "--collection", "digits-av:A", "--count", "40", "--json"]
    assert main([*words, "--clusters", "3", "--device", "cpu"]) == 0
    result = json.loads(capsys.readouterr().out)
    names = {row["name"] for row in result["results"]}
    assert names == {"video_purity/xid", "video_nmi/xid", "audio_purity/xid", "audio_nmi/xid", "pointing/xid"}
    page = Path(result["page"]).read_text(encoding="utf-8")
    assert page.count("recordings, ") == 6
    assert "Where the sound comes from" in page
    assert "data:video/mp4" in page
    assert main([*words, "--clusters", "0"]) == 2


def test_more_clusters_than_recordings_is_an_error(objects, tmp_path):
    with pytest.raises(UsageError, match="ask for fewer"):
        explain(tiny_model(), objects, tmp_path, clusters=61)


@pytest.mark.slow
def test_a_methods_own_clusters_stand_beside_each_other(tmp_path):
    settings = replace(AmbientSoundSettings.tiny(), clusters=3)
    torch.manual_seed(0)
    method = build("ambient-sound", settings, Facts(rows=16, classes=10))
    world = DigitsWorld("A", "test", 24, views=settings.specs())
    model = Model.of(method, Preprocess(method.views, AugmentSettings()), world)
    batch = model.prepared(world.read_window(torch.arange(24), 0, 1))
    method.fit(batch.views["sound"])
    page, results = explain(model, world, tmp_path, limit=20)
    assert {row.name.partition("/")[0] for row in results} == {"image_purity", "image_nmi", "sound_purity", "sound_nmi"}
    text = page.read_text(encoding="utf-8")
    assert "Clusters that ambient-sound made" in text and "By sound: " in text and "Clusters by" not in text
    sizes = [int(size) for size in re.findall(r"By sound: (\d+) recording", text)]
    assert sum(sizes) == 20
    wanted = method.code(batch.views["sound"])[0].bincount(minlength=3)
    whole, _ = explain(model, world, tmp_path)
    found = [int(size) for size in re.findall(r"By sound: (\d+) recording", whole.read_text(encoding="utf-8"))]
    assert sorted(found) == sorted(wanted.tolist())
    _, results = explain(model, world, tmp_path, clusters=4)  # asked for: k-means, of features
    assert "Clusters by" in page.read_text(encoding="utf-8")
    assert {row.name.partition("/")[0] for row in results} == {"image_purity", "image_nmi", "sound_purity", "sound_nmi"}

"""Surface normals: from depth, mirrored, learnt by a head that beats the constant normal and random weights."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from coview.cli.main import main
from coview.data.adapters import Options
from coview.data.adapters.surfaces import make
from coview.data.normals import normals_of
from coview.data.open import open_source
from coview.data.preprocess import AugmentSettings, Preprocess
from coview.data.surfaces import PermutedSurfaces, Surface, mirrored
from coview.data.synthetic.surfaces import FOCAL, SurfacesWorld
from coview.data.tracks import read_depth
from coview.errors import UsageError
from coview.evaluation.normals import cosine_loss, together
from coview.evaluation.normals_scores import angles
from coview.methods import build
from coview.methods.colorization import ColorizationSettings
from coview.methods.contract import Facts
from coview.model import Model


def test_a_plane_has_its_normal_exactly_and_faces_the_camera():
    steps = (torch.arange(40, dtype=torch.float64) + 0.5 - 20) / (0.8 * 40)
    for facing in ([0.0, 0.0, -1.0], [0.0, -0.8, -0.6], [0.48, 0.6, -0.64]):  # a wall, a floor, a slope
        x, y, z = facing
        depth = -2.0 / (x * steps[None] + y * steps[:, None] + z)
        depth = torch.where((depth > 0) & (depth < 20), depth, 0.0)
        depth[10:13, 10:13] = 0
        found, known = normals_of(depth, 0.8)
        errors = angles(found, torch.tensor(facing).expand(40, 40, 3))[known]
        assert float(errors.max()) < 0.05 and not known[10:13, 10:13].any() and known.sum() > 400
        assert (found[~known] == 0).all()


def test_spheres_have_normals_from_depth_and_edges_stay_apart():
    world = SurfacesWorld("train", 4, 0, size=64)
    for row in range(4):
        found, known = normals_of(world.depth[row], FOCAL)
        errors = angles(found, world.normals[row].movedim(0, -1))[known]
        assert float(errors.median()) < 0.1 and float((errors < 11.25).float().mean()) > 0.9
        assert float(known.float().mean()) > 0.95
    torch.testing.assert_close(SurfacesWorld("train", 40, 0).normals[:4], world.normals)
    assert (world.normals[:, 2] <= 0.01).any() and torch.allclose(world.normals.norm(dim=1), torch.ones(4, 64, 64))


def test_a_mirrored_picture_has_the_normals_of_the_mirrored_depth():
    world = SurfacesWorld("validation", 1, 0, size=32)
    depth = world.depth[0]
    here, there = (normals_of(each, FOCAL)[0].permute(2, 0, 1) for each in (depth, depth.flip(1)))
    torch.testing.assert_close(mirrored(Surface(world.pictures[0], here)).normals, there, atol=1e-5, rtol=0)


def test_the_loss_is_its_definition_and_its_gradient_that_of_differences():
    draw = torch.Generator().manual_seed(0)
    raw, truth = (torch.randn(2, 3, 2, 3, dtype=torch.float64, generator=draw) for _ in range(2))
    truth = torch.nn.functional.normalize(truth, dim=1)
    truth[0, :, 0, 0] = 0
    loss = lambda said: cosine_loss(torch.nn.functional.normalize(said, dim=1), truth)  # noqa: E731
    assert torch.autograd.gradcheck(loss, raw.requires_grad_())
    assert float(cosine_loss(truth, truth)) == pytest.approx(0) and float(cosine_loss(-truth, truth)) == pytest.approx(
        2
    )
    assert float(cosine_loss(truth, torch.zeros_like(truth))) == 0
    assert together([torch.ones(3, 2, 5), torch.ones(3, 4, 1)]).sum((1, 2, 3)).tolist() == [30, 12]


def test_permuted_normals_are_those_of_another_picture():
    world = SurfacesWorld("train", 5, 0, size=16)
    permuted = PermutedSurfaces(world, 0)
    owners = []
    for row in range(5):
        assert torch.equal(permuted[row].picture, world.pictures[row])
        owners += [other for other in range(5) if torch.equal(permuted[row].normals, world.normals[other])]
        assert owners[-1] != row
    assert sorted(owners) == list(range(5)) and permuted.fingerprint != world.fingerprint
    with pytest.raises(UsageError, match="one picture has no other"):
        PermutedSurfaces(SurfacesWorld("train", 1, 0, size=16), 0)


def test_the_world_refuses_what_it_cannot_make(tmp_path):
    with pytest.raises(UsageError, match="an even number of pixels"):
        SurfacesWorld("train", 1, size=15)
    for options in (Options(folder=tmp_path), Options(variant="x"), Options(count=3)):
        with pytest.raises(UsageError, match="surfaces"):
            make(tmp_path, options)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return where a model of lightness and a collection are, one map of which has another size."""
    folder = tmp_path_factory.mktemp("surfaces")
    made = make(folder, Options(count=14, seed=1))
    rows = ["path,split,track:depth"]
    rows += [f"{item.path},{item.split},{item.tracks['depth']}" for item in made.items]
    Image.fromarray(np.ones((9, 9), np.uint16)).save(folder / made.items[0].tracks["depth"])
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    assert main(["index", str(folder / "list.csv"), "-o", str(folder / "collection"), "--workers", "0"]) == 0
    torch.manual_seed(0)
    method = build("colorization", ColorizationSettings.tiny(), Facts(rows=10)).eval()
    source = open_source(str(folder / "collection"), method.views, split="train")
    Model.of(method, Preprocess(method.views, AugmentSettings()), source, steps=0).save(folder / "model")
    return folder, made


def evaluate(place, *words):
    where = ["--model", str(place / "model"), "--collection", str(place / "collection"), "--device", "cpu"]
    small = ["--view", "lightness", "--steps", "2", "--train-batch", "2", "--width", "8"]
    return main(["evaluate", "analysis", "--task", "normals", *where, *small, *words, "--json"])


def test_normals_from_the_command_line(place, capsys):
    folder, made = place
    depth = read_depth(folder / made.items[-1].tracks["depth"])
    assert depth.shape == (64, 64) and depth[depth > 0].min() > 1
    capsys.readouterr()
    assert evaluate(folder, "--frozen", "--controls") == 3  # one map is of another size
    said = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in said["results"]}
    for name in ("colorization", "random", "permuted"):
        mean = rows[f"normals_mean/{name}"]
        assert mean["low"] <= mean["value"] <= mean["high"] and 10 < mean["chance"] < 60 and mean["n"] == 4
        assert 0 <= rows[f"normals_below_11.25/{name}"]["value"] <= rows[f"normals_below_30/{name}"]["value"] <= 1
    assert any("it has (9, 9) pixels, the picture (64, 64)" in each["reason"] for each in said["problems"])
    assert evaluate(folder, "--focal", "-1") == 2
    assert "--focal is a length above 0" in capsys.readouterr().err

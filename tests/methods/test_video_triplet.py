"""Tracked patches: random negatives, then hard ones, of other films; a track finds its own end.

The decisive experiment of the card: 50 made films of a coloured glyph that moves over noise while its brightness and
size change; each gives tracks of two patches of 32 x 32. 200 steps of 50 tracks, a network of four convolutions, Adam
at 1e-3. Measured on other tracks of these films, and on those of 50 films that were never seen: how often the nearest
last patch of 50 belongs to the first one's track (chance .02), and how far apart own and other ends lie.
"""

import dataclasses

import pytest
import torch
from torch.nn.functional import interpolate

from coview.data.source import sample_keys
from coview.data.views import Batch, ImageView
from coview.errors import UsageError
from coview.methods import build, load_method
from coview.methods.contract import Facts

FILMS = 50
SETTINGS = load_method("video-triplet").Settings


def made(rows=40, **changes):
    torch.manual_seed(0)
    return build("video-triplet", dataclasses.replace(SETTINGS.tiny(), **changes), Facts(rows=rows))


def patches(glyphs, colours, generator):
    """Return a patch (F, 3, 32, 32) of each film: its glyph near the middle, of any size, over new noise."""
    shown = 0.15 * torch.randn(len(glyphs), 3, 32, 32, generator=generator)
    for film, (glyph, colour) in enumerate(zip(glyphs, colours, strict=True)):
        side = int(torch.randint(16, 27, (), generator=generator))
        left, top = ((32 - side) // 2 + torch.randint(-2, 3, (2,), generator=generator)).tolist()  # a tracker's errors
        bright = 0.6 + 0.8 * float(torch.rand((), generator=generator))
        drawn = interpolate(glyph[None, None], size=(side, side))[0, 0]
        shown[film, :, top : top + side, left : left + side] += bright * drawn * colour[:, None, None]
    return shown


def films(seed):
    generator = torch.Generator().manual_seed(seed)
    glyphs = (torch.rand(FILMS, 4, 4, generator=generator) < 0.5).float()
    return glyphs, 0.3 + 0.7 * torch.rand(FILMS, 3, generator=generator)


def found(method, told, seed):
    """Return how often a track finds its own end, and the mean distance to other ends above that to its own."""
    generator = torch.Generator().manual_seed(seed)
    method.eval()
    rows = torch.arange(FILMS)
    views = {"image": patches(*told, generator), "image_last": patches(*told, generator)}
    with torch.no_grad():
        first, last = method(Batch(views=views, row=rows, key=rows)).embeddings.values()
    distance = 1 - first @ last.T
    own = distance.diagonal()
    others = (distance.sum() - own.sum()) / (FILMS * (FILMS - 1))
    return float((distance.argmin(1) == rows).float().mean()), float(others - own.mean())


def experiment(seed, steps=200, shuffled=False, **changes):
    """Train, and return hits and distances on new tracks of the same films, and of new films."""
    torch.manual_seed(seed)
    view = ImageView(size=32, margin=1.0, normalise="none")
    settings = dataclasses.replace(SETTINGS.tiny(), image=view, **changes)
    method = build("video-triplet", settings, Facts(rows=FILMS))
    told, generator = films(seed), torch.Generator().manual_seed(1000 + seed)
    optimiser, rows = torch.optim.Adam(method.parameters(), 1e-3), torch.arange(FILMS)
    for step in range(steps):
        first, last = patches(*told, generator), patches(*told, generator)
        last = last[torch.randperm(FILMS, generator=generator)] if shuffled else last
        batch = Batch(
            views={"image": first, "image_last": last}, row=rows, key=sample_keys(seed, 0, rows + step * FILMS)
        )
        batch.step = step
        optimiser.zero_grad()
        method(batch).loss.backward()
        optimiser.step()
    same, new = found(method, told, 2000 + seed), found(method, films(3000 + seed), 4000 + seed)
    return {"own": same[0], "apart": same[1], "own, new films": new[0], "apart, new films": new[1]}


@pytest.mark.slow
def test_a_track_finds_its_own_end():
    learnt, untrained = experiment(0), experiment(0, steps=0)
    assert learnt["own"] > 0.9 > 0.5 > untrained["own"] and learnt["apart"] > 0.3 > untrained["apart"]
    assert experiment(0, shuffled=True)["own"] < learnt["own"] - 0.3


def test_negatives_are_random_first_and_hard_later():
    method = made(random_steps=5)
    batch = method.example_batch(12, 0)
    early, late = (method(dataclasses.replace(batch, step=step)) for step in (4, 5))
    assert late.loss > early.loss and late.parts["own"] == early.parts["own"]
    again = dataclasses.replace(batch, key=batch.key + 1)
    assert method(dataclasses.replace(again, step=4)).loss != early.loss
    assert method(dataclasses.replace(again, step=5)).loss == late.loss


def test_tracks_of_one_film_are_no_negatives_and_a_batch_of_one_film_is_idle():
    method = made()
    batch = method.example_batch(6, 0)
    method.film[:6] = torch.tensor([0, 0, 0, 1, 1, 1])
    together = method(batch)
    method.film[:6] = 0
    assert method(batch).idle and not together.idle


def test_forms_have_their_own_margin_and_may_be_told_another():
    assert [made(**told).chance_loss(8) for told in ({}, {"form": "released"}, {"margin": 0.2})] == [0.5, 1.0, 0.2]
    method = made(form="released")
    with torch.no_grad():
        method.projectors["image"][-2].bias.fill_(1e6)  # all patches lie in one direction
    assert method(method.example_batch(8, 0)).loss.item() == pytest.approx(1.0, abs=1e-4)


def test_what_is_published_is_published():
    method = build("video-triplet", SETTINGS(), Facts(rows=4, training=False))
    width = [layer.out_features for layer in method.projectors["image"] if hasattr(layer, "out_features")]
    assert method.encoders["image"].dim == 9216 and width == [4096, 1024]
    assert method.encoders["image"] is method.encoders["image_last"]
    assert method.lr_scale("encoders.image.conv1.0.bias") == 2 * method.lr_scale("encoders.image.conv1.0.weight")


class Tracks:
    name, lacking = "films", {"image_last": 0}

    def __init__(self, groups):
        self.groups, self.ids = groups, [f"t{number}" for number in range(len(groups))]

    def __len__(self):
        return len(self.ids)


def test_films_are_known_by_their_names():
    method = made(rows=5)
    assert method.study(Tracks(["b", "a", "b", "", ""])) == "5 tracks of 4 films"
    assert method.film.tolist() == [0, 1, 0, 2, 3]
    with pytest.raises(UsageError, match="all tracks are from one film"):
        method.study(Tracks(["a"] * 5))


@pytest.mark.parametrize(
    "changes", [{"negatives": 0}, {"hard": 1.5}, {"margin": -1.0}, {"image": ImageView(track="x")}]
)
def test_settings_that_cannot_be(changes):
    with pytest.raises(ValueError, match=r"video-triplet needs|margin is not below"):
        dataclasses.replace(SETTINGS.tiny(), **changes)

"""Pictures out: what is kept of a photograph, what the network may see of it, and what is refused."""

import numpy as np
import pytest
import torch

from coview.data.augment import AugmentSettings
from coview.data.preprocess import Preprocess
from coview.data.source import sample_keys
from coview.data.views import Batch, ImageView
from coview.errors import UsageError
from coview.methods import METHODS, build, load_method
from coview.methods.cards import card_of
from coview.methods.contract import Facts
from coview.methods.parts import colour
from coview.model import Model
from coview.objectives.colour import greyed, join, join_within, split, srgb_to_lab
from coview.painting.painter import Painter, as_picture, as_tensor

PAINTERS = {slug: paints for slug in METHODS if (paints := card_of(slug).paints)}
COLOURING = [slug for slug, paints in PAINTERS.items() if paints == "colour"]


def painter(slug, **changes):
    torch.manual_seed(0)
    kind = load_method(slug).Settings
    settings = kind(**{**{name: getattr(kind.tiny(), name) for name in kind.__dataclass_fields__}, **changes})
    method = build(slug, settings, Facts(rows=16))
    return Painter(Model(method, Preprocess(method.views, AugmentSettings()), {}))


def of(paints, **changes):
    return painter(next(slug for slug, what in PAINTERS.items() if what == paints), **changes)


def photograph(height, width, seed=0):
    """Return a smooth picture with strong colours, black, white and grey in it."""
    small = np.random.default_rng(seed).random((6, 8, 3))
    small[0, :3] = [[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5]]
    enlarged = torch.nn.functional.interpolate(
        torch.from_numpy(small).permute(2, 0, 1)[None], (height, width), mode="bilinear"
    )
    return (enlarged[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()


def lightness(picture):
    return srgb_to_lab(as_tensor(picture).double() / 255)[0, 0]


def test_every_kind_of_painting_has_a_method():
    assert set(PAINTERS.values()) == {"colour", "holes", "noise"}


@pytest.mark.parametrize("slug", COLOURING)
@pytest.mark.parametrize("strong", [False, True])
def test_colouring_keeps_the_lightness_to_the_rounding_of_8_bits(slug, strong, monkeypatch):
    painting, picture = painter(slug), photograph(61, 97)
    if strong:  # far outside of what sRGB has
        monkeypatch.setattr(
            painting.model.method, "render", lambda grey, sketch: join(split(grey, "lightness"), colours, clip=False)
        )
        colours = torch.tensor([0.9, -0.7])[:, None, None].expand(1, 2, 61, 97)
    made = painting.paint(picture)
    assert made.shape == picture.shape and made.dtype == np.uint8
    change = (lightness(made) - lightness(picture)).abs()
    # Half a step of each channel moves L by .2 on mean greys; by the steeper curve of near-blacks by .14.
    assert change.max() < 0.35 and change.mean() < 0.1
    if strong:
        ab = srgb_to_lab(as_tensor(made).double() / 255)[0, 1:]
        grey = (lightness(picture) < 10) | (lightness(picture) > 90)
        assert ab[0][~grey].min() > 5, "colours that sRGB lacks are weaker, and not gone"


def test_colours_that_srgb_lacks_keep_hue_and_lightness():
    light = torch.linspace(-1, 1, 41)[None, None, :, None].expand(1, 1, 41, 36).double()
    angle = torch.arange(36) * torch.pi / 18
    wanted = torch.stack([angle.cos(), angle.sin()])[None, :, None].expand(1, 2, 41, 36).double()
    lab = srgb_to_lab(join_within(light, wanted))
    torch.testing.assert_close((lab[:, :1] - 50) / 50, light, rtol=0, atol=2e-4)
    chroma = lab[:, 1:].norm(dim=1)
    along = (lab[:, 1:] * wanted).sum(1)
    torch.testing.assert_close(along, chroma, rtol=0, atol=0.05)
    assert chroma[0, 20].min() > 25
    weak = 0.05 * wanted[:, :, 12:28]
    torch.testing.assert_close(join_within(light[:, :, 12:28], weak), join(light[:, :, 12:28], weak))


def test_grey_pictures_are_their_own_grey():
    grey = (torch.arange(256) / 255).expand(1, 3, 1, 256)
    torch.testing.assert_close(greyed(grey), grey, rtol=0, atol=1e-4)  # a fortieth of an 8-bit step


@pytest.mark.parametrize("slug", COLOURING)
def test_the_network_sees_the_lightness_alone(slug, monkeypatch):
    painting, seen = painter(slug), []
    method, view = painting.model.method, type(painting.view)
    real_view, real = view.seen, method.render
    monkeypatch.setattr(view, "seen", lambda self, x, s: seen.append(x) or real_view(self, x, s))
    monkeypatch.setattr(method, "render", lambda grey, sketch: seen.append(grey) or real(grey, sketch))
    painting.paint(photograph(40, 50))
    assert len(seen) == 2
    for pictures in seen:
        assert (pictures.amax(1) - pictures.amin(1)).max() < 1e-4


@pytest.mark.parametrize("slug", COLOURING)
def test_rows_are_painted_together_or_apart(slug, monkeypatch):
    painting, picture = painter(slug), photograph(70, 50)
    whole = painting.paint(picture).astype(int)
    monkeypatch.setattr(colour, "_AT_ONCE", 150)
    assert np.abs(painting.paint(picture) - whole).max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (3, 20), (32, 32), (33, 64), (100, 31)])
@pytest.mark.parametrize("slug", PAINTERS)
def test_pictures_of_any_size(slug, shape):
    picture = photograph(*shape)
    hole = np.zeros(shape, dtype=bool)
    hole[0, 0] = True
    if PAINTERS[slug] != "holes":
        assert painter(slug).paint(picture).shape == (*shape, 3)
    elif shape == (1, 1):
        with pytest.raises(UsageError, match="nothing is left around it"):
            painter(slug).paint(picture, hole)
    else:
        assert painter(slug).paint(picture, hole).shape == (*shape, 3)


def holes(shape, *boxes):
    hole = np.zeros(shape, dtype=bool)
    for top, left, height, width in boxes:
        hole[top : top + height, left : left + width] = True
    return hole


@pytest.mark.parametrize(
    "boxes",
    [
        [(20, 30, 16, 16)],
        [(0, 0, 9, 9), (91, 141, 9, 9)],
        [(48, 0, 4, 150)],  # longer than the picture is high
        [(0, 20, 100, 5)],
        [(10, 10, 80, 100)],
        [(y, x, 2, 2) for y in range(3, 90, 17) for x in range(2, 140, 23)],
    ],
)
def test_a_hole_is_filled_and_nothing_else_is_touched(boxes):
    painting, picture = of("holes"), photograph(100, 150)
    hole = holes((100, 150), *boxes)
    made = painting.paint(picture, hole)
    assert np.array_equal(made[~hole], picture[~hole])
    assert (made[hole] != picture[hole]).any(-1).mean() > 0.9
    other = np.where(hole[:, :, None], np.uint8(255) - picture, picture)
    assert np.array_equal(painting.paint(other, hole), made), "what was in the hole makes no difference"


def test_a_hole_is_filled_with_what_the_networks_make(monkeypatch):
    painting = of("holes")
    red = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    made = painting.view.seen(red.expand(1, 3, 32, 32), None)
    monkeypatch.setattr(painting.model.method, "sketch", lambda x, at: torch.where(at, made, x))
    picture, hole = photograph(200, 300), holes((200, 300), (40, 50, 80, 60))
    filled = painting.paint(picture, hole)
    assert np.abs(filled[60:100, 70:90].astype(int) - [255, 0, 0]).max() <= 1
    assert np.array_equal(filled[~hole], picture[~hole])


@pytest.mark.parametrize(
    ("hole", "said"),
    [
        (None, "say where the hole is"),
        (holes((40, 50)), "there is no hole"),
        (holes((40, 50), (0, 0, 40, 50)), "nothing is left around it"),
        (holes((41, 50), (0, 0, 4, 5)), "the mask has 50 x 41 pixels, and the picture 50 x 40"),
    ],
)
def test_holes_that_cannot_be_filled(hole, said):
    with pytest.raises(UsageError, match=said):
        of("holes").paint(photograph(40, 50), hole)


@pytest.mark.parametrize("normalise", ["imagenet", "clip", "statistics", "none"])
@pytest.mark.parametrize("shape", [(32, 32), (90, 130)])
def test_a_network_that_changes_nothing_returns_the_picture(normalise, shape, monkeypatch):
    painting = of("noise", image=ImageView(size=32, margin=1.0, normalise=normalise))
    if painting.statistics is not None:
        painting.statistics[0].add_(0.2)
    monkeypatch.setattr(painting.model.method, "sketch", lambda x, at: x)
    picture = photograph(*shape)
    assert np.abs(painting.paint(picture).astype(int) - picture).max() <= 1


def test_what_cannot_be_painted_is_said():
    vicreg = build("vicreg", load_method("vicreg").Settings.tiny(), Facts(rows=16))
    with pytest.raises(UsageError, match=r"vicreg makes no pictures; these do: .*colour by .*") as said:
        Painter(Model(vicreg, Preprocess(vicreg.views, AugmentSettings()), {}))
    assert all(slug in str(said.value) for slug in PAINTERS)
    with pytest.raises(UsageError, match="only holes are filled"):
        of("noise").paint(photograph(40, 50), holes((40, 50), (1, 1, 3, 3)))
    with pytest.raises(UsageError, match="at most 8 times as long as wide"):
        of("colour").paint(photograph(10, 81))


@pytest.mark.parametrize(
    ("slug", "changes"),
    [
        ("split-brain", {"pair": "rgb-d"}),
        ("context-encoder", {"image": ImageView(size=32, margin=1.0, space="lightness")}),
        ("denoising-autoencoder", {"view": "audio"}),
        ("denoising-autoencoder", {"image": ImageView(size=32, margin=1.0, space="colour")}),
    ],
)
def test_settings_with_which_a_method_makes_no_pictures(slug, changes):
    with pytest.raises(UsageError, match=r"lightness|rgb"):
        painter(slug, **changes)


def stripes(count, side, period, seed):
    """Return red pictures of horizontal and green ones of vertical stripes, (count, 3, side, side), alternating.

    Their brightness is drawn: at one lightness, red and green have other means of their channels.
    """
    drawn = torch.Generator().manual_seed(seed)
    place = torch.arange(side) / period
    brightness = 0.3 + 0.4 * torch.rand(count, 1, generator=drawn)
    wave = brightness + 0.15 * torch.sin(2 * torch.pi * (place + torch.rand(count, 1, generator=drawn)))
    light = torch.where(
        (torch.arange(count) % 2 == 0)[:, None, None],
        wave[:, :, None].expand(-1, -1, side),
        wave[:, None].expand(-1, side, -1),
    )
    ab = torch.where((torch.arange(count) % 2 == 0)[:, None], torch.tensor([0.4, 0.3]), torch.tensor([-0.4, 0.3]))
    return join(2 * light[:, None] - 1, ab[:, :, None, None].expand(-1, -1, side, side))


@pytest.mark.slow
@pytest.mark.parametrize("slug", COLOURING)
def test_what_was_learnt_on_small_pictures_colours_large_ones(slug):
    painting = painter(slug)
    method = painting.model.method
    optimiser = torch.optim.Adam(method.parameters(), 3e-3)
    rows = torch.arange(16)
    for step in range(120):
        raw = (stripes(16, 32, 5.0, step)[:, :, None] * 255).round().to(torch.uint8)
        views = {
            name: view.prepare(raw, None, rows >= 0, AugmentSettings(), None) for name, view in method.views.items()
        }
        optimiser.zero_grad()
        method(Batch(views=views, row=rows, key=sample_keys(0, step, rows))).loss.backward()
        optimiser.step()
    left, right = stripes(2, 640, 100.0, 10_000)
    picture = as_picture(torch.cat([left, right], dim=2)[None])
    made = srgb_to_lab(as_tensor(painting.paint(picture)).float() / 255)[0, 1]
    assert made[:, :560].mean() > 20
    assert made[:, 720:].mean() < -20

"""ViLBERT's decisive small experiment: coloured shapes, and captions such as "red circle left of blue square".

Measured when written, seed 0: alignment .978, a masked colour .908 with the picture and .203 with another's.
"""

import dataclasses

import pytest
import torch

from coview.data.dictionary import frequencies
from coview.data.source import sample_keys
from coview.data.views import Batch, FeaturesView, TextView
from coview.methods.contract import Facts
from coview.methods.parts.regions import Regions
from coview.methods.vilbert import ViLBERT, ViLBERTSettings
from coview.randomness import integers, make_key, normal, uniform

COLOURS = ("red", "green", "blue", "yellow", "purple")
SHAPES = ("circle", "square", "triangle", "cross")
SAYS = ("left of", "right of", "above", "below")
DIM = len(COLOURS) + len(SHAPES)
TOY = dataclasses.replace(
    ViLBERTSettings.tiny(),
    regions=FeaturesView(dim=DIM, steps=4),
    boxes=FeaturesView(dim=4, steps=4),
    classes=FeaturesView(dim=len(COLOURS) * len(SHAPES), steps=4),
    text=TextView(length=60, tokens="words"),
    tokens=12,
    mask_only_aligned=True,
)


def scenes(seed, count):
    """Return scenes of two things that a caption tells of, and up to two more: views, and the captions."""
    key = make_key(seed, torch.arange(count))
    colour, shape = integers(key, 0, len(COLOURS), 4), integers(key, 1, len(SHAPES), 4)
    there = torch.arange(4) < 2 + integers(key, 2, 3)[:, None]
    # Things lie in a 4 x 4 grid, the four of a scene in different rows and columns.
    column, row = (uniform(key, stream, 4).argsort(1) for stream in (3, 4))
    side = 0.12 + 0.1 * uniform(key, 5, 4)
    x, y = (column + 0.5) / 4, (row + 0.5) / 4
    boxes = torch.stack([x - side / 2, y - side / 2, x + side / 2, y + side / 2], 2)
    told = torch.cat([torch.nn.functional.one_hot(colour, len(COLOURS)),
                      torch.nn.functional.one_hot(shape, len(SHAPES))], 2).float()  # fmt: skip
    regions = told + 0.15 * normal(key, 6, 4, DIM)
    classes = 0.9 * torch.nn.functional.one_hot(colour * len(SHAPES) + shape, len(COLOURS) * len(SHAPES)) + 0.1 / 20
    upright = integers(key, 7, 2).bool()
    captions = []
    for n in range(count):
        says = SAYS[2 + int(y[n, 0] > y[n, 1])] if upright[n] else SAYS[int(x[n, 0] > x[n, 1])]
        one, other = (f"{COLOURS[colour[n, k]]} {SHAPES[shape[n, k]]}" for k in (0, 1))
        captions.append(f"{one} {says} {other}")
    views = {"regions": regions * there[..., None], "boxes": boxes * there[..., None],
             "classes": classes * there[..., None],
             "text": torch.stack([TOY.text.spell(caption) for caption in captions])}  # fmt: skip
    return views, there.sum(1), captions


def batch_of(views, length, rows, key):
    return Batch(
        views={name: view[rows] for name, view in views.items()}, row=rows, key=key,
        length=dict.fromkeys(("regions", "boxes", "classes"), length[rows]),
    )  # fmt: skip


def trained(seed, steps=1600, lr=2e-3, size=64, count=16000):
    torch.manual_seed(seed)
    method = ViLBERT(TOY, Facts(rows=count)).train()
    views, length, captions = scenes(seed, count)
    method.reader.take(dict(frequencies(caption.split() for caption in captions)), count)
    optimiser = torch.optim.AdamW(method.parameter_groups(0.01), lr)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        rows = torch.randint(count, (size,), generator=generator)
        for group in optimiser.param_groups:
            group["lr"] = lr * min((step + 1) / (0.1 * steps), (steps - step) / (0.9 * steps))
        found = method(batch_of(views, length, rows, sample_keys(seed, step, rows)))
        optimiser.zero_grad()
        found.loss.backward()
        optimiser.step()
    return method.eval()


@torch.no_grad()
def measured(method, seed, count=2000):
    """Return accuracy of alignment, and of masked colours with the picture and with another scene's."""
    views, length, _ = scenes(1000 + seed, count)
    batch = batch_of(views, length, torch.arange(count), sample_keys(1, 0, torch.arange(count)))
    tokens, regions = method.tokens(batch), method.regions(batch)
    shown, aligned = method.paired(tokens, batch.key)

    def seen(tokens, rows=slice(None)):
        return method.streams(tokens, Regions(regions.features[rows], regions.boxes[rows], regions.there[rows]))

    belong = method.makers["alignment"](method.product(*seen(shown))).argmax(1) == 0
    number = {word: method.reader.first + place for place, word in enumerate(method.reader.dictionary())}
    colours = torch.tensor([number[colour] for colour in COLOURS])
    first = torch.isin(tokens, colours).long().argmax(1)
    masked = tokens.scatter(1, first[:, None], method.reader.mask)
    found = {"alignment": float((belong == aligned).float().mean())}
    for name, rows in (("with the picture", slice(None)), ("with another's", torch.arange(count).roll(1))):
        text, _ = seen(masked, rows)
        scores = method.heads["words"](text, method.encoders["text"].words.weight)[torch.arange(count), first]
        right = scores.argmax(1) == tokens[torch.arange(count), first]
        found[f"masked colour {name}"] = float(right.float().mean())
    return found


def experiment(seed):
    return measured(trained(seed), seed)


@pytest.mark.slow
def test_alignment_is_learnt_and_colour_words_need_the_picture():
    found = experiment(0)
    assert found["alignment"] > 0.95
    assert found["masked colour with the picture"] > 0.85  # .9 is the card's: rounding may cost a little
    assert found["masked colour with another's"] < 0.3

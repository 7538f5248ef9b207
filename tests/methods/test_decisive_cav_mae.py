"""CAV-MAE's decisive small experiment: of true pairs, whole pictures find their sounds; of shuffled ones they do not.

The 64 made recordings of `test_decisive`, one frame of each; patches of 4, one block of each view's own and one that is
shared; 200 steps of 32. The contrast weighs .1 here: by .01, as published, it takes longer.
"""

import dataclasses

import pytest
import torch
from test_decisive import BATCH, RECORDINGS, clips

from coview.data.source import sample_keys
from coview.data.views import AudioView, Batch, ImageView
from coview.methods import build
from coview.methods.cav_mae import CAVMAESettings
from coview.methods.contract import Facts
from coview.methods.parts.batch import unit

SMALL = CAVMAESettings(
    image=ImageView(size=16), audio=AudioView(seconds=0.2, n_fft=512, window=400, hop=200, mels=40), patch=4, width=64,
    heads=4, own_depth=1, decoder_width=32, decoder_heads=4, decoder_depth=1, contrast=0.1,
)  # fmt: skip


def made_pairs(row, seed):
    video, audio = clips(row, seed)
    return {"image": video[:, :, 0], "audio": audio}


def toy(seed=0, steps=200, shuffled=False, **changes):
    """Train on the made pairs; returns R@1 of new ones, the worse way, and the last errors of picture and sound."""
    torch.manual_seed(seed)
    method = build("cav-mae", dataclasses.replace(SMALL, **changes), Facts(rows=RECORDINGS))
    optimiser = torch.optim.Adam(method.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    numbers = torch.Generator().manual_seed(seed)
    for number in range(steps):
        if number % 2 == 0:
            order = torch.randperm(RECORDINGS, generator=numbers)
        row = order[number % 2 * BATCH : (number % 2 + 1) * BATCH]
        views = made_pairs(row, 10_000 * seed + number)
        if shuffled:
            views["audio"] = views["audio"][torch.randperm(BATCH, generator=numbers)]
        optimiser.zero_grad()
        step = method(Batch(views=views, row=row, key=sample_keys(seed, number, torch.arange(BATCH))))
        step.loss.backward()
        optimiser.step()
        schedule.step()
    parts = step.parts
    return recall(method.eval(), seed), parts["error/image"].item(), parts["error/audio"].item()


@torch.no_grad()
def recall(method, seed):
    row = torch.arange(RECORDINGS)
    image, audio = method.embed(Batch(views=made_pairs(row, 900_000 + seed), row=row, key=row)).values()
    scores = unit(image) @ unit(audio).T
    return min((scores.argmax(dim) == row).float().mean().item() for dim in (0, 1))


@pytest.mark.slow
def test_true_pairs_are_found_and_what_is_hidden_is_made():
    found, picture, _ = toy()
    assert found > 0.1
    assert picture < 0.7


@pytest.mark.slow
def test_shuffled_pairs_are_not():
    found, picture, _ = toy(shuffled=True)
    assert found < 0.06
    assert picture < 0.7

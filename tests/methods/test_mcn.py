"""MCN: published modules, what its card says must hold, and its decisive small experiment: digits cut into three bands.

1797 handwritten digits of 8 x 8; the views are rows 0 to 2, 3 to 4 and 5 to 7. Measured when written, 40 epochs, 360
digits held out, mean over the six directions, seeds 0 and 1; chance .028 and .10:

                                      R@10         nearest is the same digit
    untrained                      .03 .04         .10 .11
    contrast                       .34 .35         .54 .61
    contrast + clusters            .33 .33         .54 .59
    all three parts                .27 .28         .50 .55
    all, shuffled                  .02 .02         .08 .08

The clusters and the reconstruction cost instance retrieval here and gain nothing, as the card found too.
"""

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from coview.data.source import sample_keys
from coview.data.views import Batch, FeaturesView
from coview.encoders.davenet import DAVEnet, GatedUnit, WordPool
from coview.errors import SettingsError
from coview.evaluation.ranking import best_rank
from coview.methods.contract import Facts
from coview.methods.mcn import MCN, MCNSettings
from coview.settings import from_dict, to_dict

GOLDEN = {
    key: torch.from_numpy(np.asarray(value))
    for key, value in np.load(Path(__file__).parents[1] / "golden" / "mcn.npz").items()
}
BANDS = {"video": 24, "audio": 16, "text": 24}
VIEWS = {name: FeaturesView(dim=dim) for name, dim in BANDS.items()}
SMALL = dataclasses.replace(MCNSettings.tiny(), views=VIEWS, embedding=32, clusters=20, queue=1280, decoder=64)


def make(seed=0, **changes):
    torch.manual_seed(seed)
    return MCN(dataclasses.replace(SMALL, **changes), Facts(rows=64))


def test_modules_golden():
    gate = GatedUnit(7, 6).double()
    names = {"linear": "fc", "gate": "cg.fc"}
    gate.load_state_dict(
        {f"{ours}.{p}": GOLDEN[f"gu_w_{theirs}.{p}"] for ours, theirs in names.items() for p in ("weight", "bias")}
    )
    torch.testing.assert_close(gate(GOLDEN["gu_in"]), GOLDEN["gu_out"], rtol=1e-9, atol=1e-12)
    words = WordPool(5, 6, padding=True).double()
    words.load_state_dict({f"linear.{p}": GOLDEN[f"sm_w_fc.{p}"] for p in ("weight", "bias")})
    torch.testing.assert_close(words(GOLDEN["sm_in"]), GOLDEN["sm_out"], rtol=1e-9, atol=1e-12)
    method = make(views={"a": FeaturesView(dim=7), "b": FeaturesView(dim=7)}, embedding=6, decoder=4, as_released=True)
    decoder = method.double().decoders["a"]
    decoder.load_state_dict({f"{n}.{p}": GOLDEN[f"rec_w_{n}.{p}"] for n in (0, 2) for p in ("weight", "bias")})
    torch.testing.assert_close(decoder(GOLDEN["gu_out"]), GOLDEN["rec_out"], rtol=1e-9, atol=1e-12)
    error = method._error("a", GOLDEN["gu_in"], GOLDEN["gu_out"])
    torch.testing.assert_close(error, GOLDEN["rec_mse"], rtol=1e-9, atol=1e-12)


def test_padding_of_a_sentence_does_not_count_and_order_neither():
    words = WordPool(5, 6)
    torch.nn.init.ones_(words.linear.bias)
    sentence = torch.randn(2, 4, 5)
    padded = torch.cat([sentence, torch.zeros(2, 3, 5)], 1)
    torch.testing.assert_close(words(padded), words(sentence))
    torch.testing.assert_close(words(padded[:, torch.randperm(7)]), words(sentence))
    assert not words(torch.zeros(1, 3, 5)).any()


def test_closed_gate_halves():
    gate = GatedUnit(4, 3)
    torch.nn.init.zeros_(gate.gate.weight)
    torch.nn.init.zeros_(gate.gate.bias)
    x = torch.randn(2, 4)
    torch.testing.assert_close(gate(x), gate.linear(x) / 2)


def test_published_shapes():
    with torch.device("meta"):
        method = MCN(MCNSettings(), Facts(rows=2))
        maps = DAVEnet().feature_maps(torch.randn(2, 1, 40, 1000))["layer4"]
    assert maps.shape == (2, 1024, 1, 63)
    assert method.views["audio"].shape == (1, 40, 1000)
    assert method.queue.shape == (40960, 6144)
    assert next(head[0] for head in method.decoders.values()).in_features == 6144
    assert sum(p.numel() for p in method.projectors["video"].parameters()) == 6144 * (4096 + 1) + 6144 * (6144 + 1)
    assert from_dict(MCNSettings, to_dict(MCNSettings())) == MCNSettings()


@pytest.mark.parametrize("wrong", [{"clusters": 0}, {"cluster_weight": -1.0}, {"views": {}}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(SettingsError):
        from_dict(MCNSettings, wrong)


def test_targets_of_the_reconstruction_do_not_move_unless_as_released():
    views = {"video": FeaturesView(dim=4), "text": FeaturesView(dim=3, steps=5)}
    for released in (False, True):
        method = make(views=views, as_released=released)
        x = {name: torch.randn(6, 32) for name in views}
        seen = method.encoders["text"](torch.randn(6, 5, 3))
        error = method._error("text", seen, x["text"]).sum()
        weights = method.encoders["text"].linear.weight
        (gradient,) = torch.autograd.grad(error, weights, allow_unused=True)
        assert (gradient is not None) == released


def test_centroids_follow_every_few_steps_and_start_anew_each_epoch():
    method = make(clusters=4, queue=12, cluster_every=3).train()
    seen = []
    for step in range(7):
        method(method.example_batch(8, step))
        method.after_step()
        seen.append(method.centroids.clone())
    changed = [not torch.equal(after, before) for before, after in pairwise(seen)]
    assert changed == [False, False, True, False, False, True]
    assert method.filled == 12
    method.refresh(1, None)
    assert not method.centroids.any()
    assert method.filled == 0
    assert method.steps == 0


def test_newest_come_first_in_the_queue():
    method = make(clusters=4, queue=12).train()
    fused = []
    for step in range(2):
        batch = method.example_batch(8, step)
        embeddings = method(batch).embeddings
        fused.append(torch.stack(list(embeddings.values())).mean(0))
        method.after_step()
    torch.testing.assert_close(method.queue, torch.cat([fused[1], fused[0][:4]]))


def test_fewer_samples_than_clusters_are_not_clustered():
    step = make(clusters=20)(make().example_batch(8, 0))
    assert step.parts["clusters"] == 0
    assert step.loss.isfinite()


def digits(seed):
    """The handwritten digits as three bands of rows, and 360 of them held out."""
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(seed))
    pixels, label = torch.tensor(data.data).float()[order] / 16, torch.tensor(data.target)[order]
    bands = dict(zip(BANDS, pixels.split(tuple(BANDS.values()), 1), strict=True))
    return bands, label


def train(seed=0, epochs=40, shuffled=False, **changes):
    """Train on the bands; returns R@10 and how often the nearest is the same digit, means over six directions."""
    bands, label = digits(seed)
    method, generator = make(seed, **changes), torch.Generator().manual_seed(seed)
    optimiser, rows = torch.optim.Adam(method.parameters(), 2e-3), len(label) - 360
    known = {name: band[:rows] for name, band in bands.items()}
    if shuffled:
        known = {name: band[torch.randperm(rows, generator=generator)] for name, band in known.items()}
    for epoch in range(epochs):
        method.refresh(epoch, None)
        for row in torch.randperm(rows, generator=generator).split(128)[:-1]:
            views = {name: band[row] for name, band in known.items()}
            optimiser.zero_grad()
            method(Batch(views=views, row=row, key=sample_keys(seed, epoch, row))).loss.backward()
            optimiser.step()
            method.after_step()
    return recall(method.eval(), {name: band[rows:] for name, band in bands.items()}, label[rows:])


@torch.no_grad()
def recall(method, views, label):
    z = {name: method.projectors[name](method.encoders[name](view)) for name, view in views.items()}
    found, alike = [], []
    for query in z:
        for other in z:
            if query != other:
                scores = z[query] @ z[other].T
                best = scores.topk(10, 1).indices
                found.append((best == torch.arange(len(label))[:, None]).any(1).float().mean())
                alike.append((label[best[:, 0]] == label).float().mean())
    return torch.stack(found).mean().item(), torch.stack(alike).mean().item()


@pytest.mark.slow
def test_bands_of_one_digit_find_each_other():
    found, alike = train()
    assert found > 0.2
    assert alike > 0.4


@pytest.mark.slow
def test_shuffled_bands_stay_at_chance():
    found, alike = train(shuffled=True)
    assert found < 0.05
    assert alike < 0.13


@pytest.mark.parametrize("direction", ["t2v", "v2t"])
def test_retrieval_golden(direction):
    scores = GOLDEN["ret_sim"] if direction == "t2v" else GOLDEN["ret_sim"].T
    rank = best_rank(scores, torch.eye(len(scores), dtype=torch.bool))
    figures = [(rank <= k).double().mean().item() for k in (1, 5, 10)]
    # The reference adds one to the median of ranks that count from 0.
    figures.append(float(np.median(rank.numpy())))
    assert figures == pytest.approx(GOLDEN[f"ret_{direction}"].tolist())

"""GradCache: gradients of a batch that is encoded part by part are those of the whole batch."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
import tiny
import torch
import worlds
from torch import nn

from coview import parallel
from coview.data.views import Batch, FeaturesView
from coview.errors import SettingsError
from coview.methods import build
from coview.methods.contract import Facts
from coview.methods.infonce import InfoNCESettings
from coview.settings import to_dict
from coview.training import cached
from coview.training.loop import train
from coview.training.run import read_lines

DIMS = {"left": 6, "right": 5, "other": 4}
FORMS = {
    "softmax": {"queue": 4, "positives": "pair"},
    "sigmoid hub": {"form": "sigmoid", "hub": "right", "weights": {"right-left": 2.0}},
    "labels": {"positives": "label", "temperatures": {"left-right": 0.2}},
}


def own(**changes):
    others = {name: FeaturesView(dim=dim) for name, dim in DIMS.items()}
    usual = {"hidden": (7,), "head_batchnorm": False, "embedding": 4}
    return InfoNCESettings(views=tuple(DIMS), others=others, **usual | changes)


def make(dropout=0.0, **changes):
    torch.manual_seed(0)
    method = build("infonce", own(**changes), Facts(rows=40, classes=4)).double()
    for name in DIMS if dropout else ():
        method.projectors[name].append(nn.Dropout(dropout))
    return method


def drawn(method, size=12):
    batch = method.example_batch(size, 0)
    there = torch.arange(size) % 3 > 0
    there[: size // 2] &= torch.arange(size // 2) == size  # the first half of the batch lacks it
    views = {name: view.double() for name, view in batch.views.items()}
    return dataclasses.replace(batch, views=views, present=dict(batch.present) | {"other": there})


def gradients(method):
    return {name: p.grad for name, p in method.named_parameters() if p.requires_grad}


def in_parts(method, batch, parts):
    step = cached.backward(method, batch, parts, 0.5, contextlib.nullcontext)
    cached.average_gradients(method)
    method.after_step()
    return step


def on_a_rank(form, parts):
    method = make(**FORMS[form])
    batch, world = drawn(method), parallel.world_size()
    share = len(batch) // world
    step = in_parts(method, batch.select(slice(parallel.rank() * share, (parallel.rank() + 1) * share)), parts)
    return parallel.sum_with_grad(step.loss.detach()) / world, gradients(method), method.state_dict()


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_the_whole_batch(form, world):
    method = make(**FORMS[form])
    step = method(drawn(method))
    (step.loss * 0.5).backward()
    method.after_step()
    expected = step.loss.detach(), gradients(method), method.state_dict()
    for parts in (3, 50) if world == 1 else (3,):
        results = [on_a_rank(form, parts)] if world == 1 else worlds.run(world, on_a_rank, form, parts)
        for result in results:
            torch.testing.assert_close(result, expected, rtol=1e-10, atol=1e-12)


def test_dropout_is_the_same_both_times():
    """Against parts whose graphs are kept, with the same masks; the generator ends where it did."""
    batch, found = drawn(make()), []
    for keep in (True, False):
        method = make(dropout=0.5).train()
        torch.manual_seed(7)
        if keep:
            usable = method.usable(batch)
            parts = [method.encode(usable.select(slice(*ends))) for ends in ((0, 4), (4, 8), (8, 12))]
            step = method.step_of(usable, {name: torch.cat([part[name] for part in parts]) for name in parts[0]})
            (step.loss * 0.5).backward()
        else:
            step = in_parts(method, batch, 3)
        found.append((step.loss.detach(), gradients(method), torch.rand(3)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-10, atol=1e-12)


def test_frozen_networks_and_batches_without_anything():
    method = make()
    method.projectors["left"].requires_grad_(False)
    in_parts(method, drawn(method), 2)
    assert all(gradient is not None and gradient.any() for gradient in gradients(method).values())
    batch = drawn(make())
    batch.present = {name: torch.zeros_like(there) for name, there in batch.present.items()}
    method = make()
    assert in_parts(method, batch, 2).idle
    assert all(gradient is not None and not gradient.any() for gradient in gradients(method).values())


class Vectors:
    """Three views of one hidden vector each; a third of the recordings lack one."""

    name, classes = "vectors", ["one"]
    views = {name: FeaturesView(dim=dim) for name, dim in DIMS.items()}

    def __init__(self, rows=60):
        draw = torch.Generator().manual_seed(0)
        hidden = torch.randn(rows, 4, generator=draw)
        self.values = {name: hidden @ torch.randn(4, dim, generator=draw) for name, dim in DIMS.items()}
        self.ids, self.labels = [str(row) for row in range(rows)], torch.zeros(rows, dtype=torch.int64)
        self.fingerprint = f"vectors-{rows}"

    def __len__(self):
        return len(self.ids)

    def read(self, row, key):
        return Batch(
            views={name: value[row] for name, value in self.values.items()},
            row=row,
            key=key,
            start={name: torch.zeros(len(row), dtype=torch.float64) for name in self.values},
            present={"other": row % 3 > 0},
            label=self.labels[row],
        )

    def windows(self, count):
        return 1

    def read_window(self, row, window, count):
        return self.read(row, row)


def settings(changes=None, **parts):
    run = tiny.settings(batch_size=20, **parts)
    return dataclasses.replace(run, method="infonce", method_settings=own(**changes or {}), collection="vectors")


def run(out, parts):
    train(settings(cached=parts), out, source=Vectors(), quiet=True)
    return [(line["loss"], line["lr"]) for line in read_lines(out / "metrics.jsonl")]


def test_a_run_is_the_same_run(tmp_path):
    plain = run(tmp_path / "plain", 1)
    assert len(plain) == 9 and plain[-1][0] < plain[0][0]
    for other in (run(tmp_path / "parts", 4), worlds.run(2, run, tmp_path / "two", 4)[0]):
        torch.testing.assert_close(torch.tensor(other), torch.tensor(plain), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_cached_is_refused(tmp_path):
    tiny.register()
    for asked, said in (
        (tiny.settings(cached=2), "not computed on embeddings alone"),
        (settings({"head_batchnorm": True}, cached=2), "batch normalisation looks at all samples"),
        (settings(cached=2, sharding="full"), "divided parameters"),
    ):
        source = tiny.TinySource() if asked.method == "tiny" else Vectors()
        with pytest.raises(SettingsError, match=said):
            train(asked, tmp_path / "run", source=source, quiet=True)
    assert to_dict(settings(cached=3))["train"]["cached"] == 3

"""Protocol audio-probe: linear support vector machines on the frozen sound encoder's stages; ESC-50 and DCASE-2014.

As in AVID's earlier code: every stage's maps averaged into cells, standardised on the training clips, one-vs-rest
LinearSVC with squared hinge; a test recording's class is the largest mean of its clips' decision values. ESC-50: five
official folds, ten random augmented clips of each training recording, ten evenly spaced test clips, C = 10. DCASE-2014:
one split, sixty clips each, C = 1. The code reports the best stage on the TEST part; here all stages are reported, and
the one that is chosen is chosen on a held-out fifth of the training part.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC
from torch import Tensor

from coview.data.augment import AugmentSettings
from coview.data.preprocess import Preprocess
from coview.data.source import Source, sample_keys
from coview.data.views import Batch, ViewSpec
from coview.embedding.extract import Features, extract
from coview.errors import UsageError
from coview.evaluation.bench import Bench
from coview.evaluation.measurable import LEAST, question
from coview.evaluation.probe import held_out_fifth
from coview.evaluation.scores import filled, score
from coview.evaluation.stages import Stage, stage_features, stages_of
from coview.model import Model
from coview.settings import to_dict

_ITERATIONS = 200


@dataclass(frozen=True, kw_only=True)
class AudioProbe:
    """How sounds are classified; the defaults are ESC-50's."""

    view: str = "audio"
    stages: tuple[str, ...] = ("avid",)
    C: float = 10.0
    train_clips: int = 10  # random, augmented cuts of each training recording
    test_clips: int = 10  # evenly spaced
    augment: AugmentSettings = field(default_factory=AugmentSettings)


ESC50 = AudioProbe()
DCASE = AudioProbe(C=1.0, train_clips=60, test_clips=60)


def audio_probe(bench: Bench, how: AudioProbe) -> None:
    """Add "<view>_svm@<stage>/<name>" for every stage and "<view>_svm/<name>" for the chosen one.

    Raises:
        UsageError: the model has no such view, or its encoder none of the stages.
    """
    model, view = bench.model, how.view
    if not bench.classifies("audio-probe"):
        return
    assert bench.train is not None
    if view not in model.method.encoders:
        raise UsageError(f"the model has no view {view!r}; it has {', '.join(model.method.encoders)}")
    stages = stages_of(model, view, how.stages) or stages_of(model, view, ("all",))
    asked = {view: stages}
    fit = _random_clips(bench, bench.train, how, asked)
    held = bench.features("test", windows=how.test_clips, stages=asked)
    losses: dict[str, float] = {}
    figures = {}
    for stage in stages:
        name = f"{view}/{stage}"
        what, asked_of = f"{view}_svm@{stage.name}", question(fit, held, name, fit.classes, least=LEAST)
        bench.result.lacks(what, asked_of.lacking)
        if not asked_of.whole:
            continue
        clips, labels, truth = filled(fit, name)[asked_of.used], asked_of.labels, asked_of.truth
        inner = held_out_fifth(labels, bench.seed)
        guess = decide(clips[~inner], labels[~inner], clips[inner], len(fit.classes), how.C, bench.seed)
        losses[stage.name] = float((guess.argmax(1) != labels[inner]).double().mean())
        decision = decide(clips, labels, filled(held, name)[asked_of.tested], len(fit.classes), how.C, bench.seed)
        one_window = decision[:, None]  # averaged over clips before the comparison
        figures[stage.name] = score(what, bench.name, one_window, truth, asked_of.classes, bench.seed)
        bench.result.results += figures[stage.name]
    if not losses:
        return
    best = min(losses, key=lambda stage: losses[stage])
    bench.result.results += [dataclasses.replace(m, name=m.name.replace(f"@{best}", "", 1)) for m in figures[best]]
    bench.result.choices[f"{view}_svm"] = {
        **to_dict(how),
        "stages": [str(stage) for stage in stages],
        "classifier": f"LinearSVC, one against the rest, squared hinge, tol 1e-4, at most {_ITERATIONS} iterations",
        "standardised": "by the training clips' mean and deviation",
        "test_clips_joined": "mean of decision values",
        "chosen_stage": best,
        "chosen_by": "error on a held-out fifth of the training recordings",
        "held_out_error": losses,
    }


def decide(clips: Tensor, labels: Tensor, asked: Tensor, classes: int, C: float, seed: int) -> Tensor:
    """Return decision values float64 (Q, classes), means over clips, of recordings `asked` (Q, W', D).

    Args:
        clips: float (N, W, D), every clip a training sample; `labels`: int64 (N,).
    """
    flat = clips.double().flatten(0, 1)
    mean, deviation = flat.mean(0), flat.std(0, unbiased=False)
    deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    truth = labels[:, None].expand(clips.shape[:2]).flatten().numpy()
    machine = LinearSVC(C=C, loss="squared_hinge", tol=1e-4, max_iter=_ITERATIONS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 200 iterations are the protocol's
        machine.fit(((flat - mean) / deviation).numpy(), truth)
    values = machine.decision_function(((asked.double().flatten(0, 1) - mean) / deviation).numpy())
    seen = torch.from_numpy(np.asarray(machine.classes_, dtype=np.int64))
    found = torch.from_numpy(values)
    if seen.numel() == 2:  # one column, for the second class
        found = torch.stack([-found, found], 1)
    whole = torch.full((found.shape[0], classes), -torch.inf, dtype=torch.float64)
    whole[:, seen] = found
    return whole.reshape(*asked.shape[:2], classes).mean(1)


def _random_clips(bench: Bench, source: Source, how: AudioProbe, asked: dict[str, tuple[Stage, ...]]) -> Features:
    """Embed random augmented cuts of every training recording, drawn from (seed, cut, row)."""
    preprocess = Preprocess(bench.model.preprocess.views, how.augment)
    preprocess.load_state_dict(bench.model.preprocess.state_dict())
    preprocess.to(next(bench.model.method.parameters()).device)
    varied = Model(bench.model.method, preprocess, bench.model.about)
    return extract(
        varied,
        _RandomCuts(source, bench.seed, how.train_clips),
        windows=how.train_clips,
        batch_size=bench.batch_size,
        embed=stage_features(varied, asked, augmented=True),
        progress=lambda done, total: bench.progress("embedding random clips", done, total),
    )


class _RandomCuts:
    """A source whose k-th window of a recording is a random cut."""

    def __init__(self, source: Source, seed: int, cuts: int) -> None:
        self.source, self.seed, self.cuts = source, seed, cuts
        self.name, self.ids, self.labels = source.name, source.ids, source.labels
        self.classes, self.fingerprint = source.classes, source.fingerprint

    @property
    def views(self) -> Mapping[str, ViewSpec]:
        """See `Source`."""
        return self.source.views

    def __len__(self) -> int:
        return len(self.source)

    def windows(self, count: int) -> int:
        """See `Source.windows`."""
        return self.cuts

    def read(self, row: Tensor, key: Tensor) -> Batch:
        """See `Source.read`."""
        return self.source.read(row, key)

    def read_window(self, row: Tensor, window: int, count: int) -> Batch:
        """Cut where the key of (seed, window, row) says; what cannot be read counts as absent."""
        batch = self.source.read(row, sample_keys(self.seed, window, row))
        own = batch.row == row
        batch.present = {name: present & own for name, present in batch.present.items()}
        batch.row, batch.label = row, self.labels[row]
        return batch

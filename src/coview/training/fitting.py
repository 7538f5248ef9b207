"""A run fitted to few recordings: batch, clusters and positives no more than there are, said in a sentence.

Only what nobody has stated is changed; of a collection that is large enough, nothing is. Negatives from a memory are
drawn with repetition, so that few recordings serve any number of them, and losses keep the balance they were made for.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from coview.methods import load_method
from coview.settings import diff
from coview.training.settings import RunSettings, run_to_dict

MOST = 256  # samples of a fitted batch: recipes of thousands are for many machines
_SCALED = ("sgd", "lars", "larc", "larc-swav")  # whose rates belong to a batch (Goyal et al., arXiv 1706.02677)


def fit(
    settings: RunSettings, rows: int, stated: Collection[str] = (), world: int = 1
) -> tuple[RunSettings, list[str]]:
    """Return the settings as `rows` recordings allow, and a line for each that was changed: "name: was -> is".

    A batch larger than an epoch becomes one of as many different recordings as there are, 256 at most; the rate of
    optimisers without their own scale falls with it. What of its own a method fits, `Method.fitted` says.

    Args:
        stated: names of settings, as options have them, that somebody has asked for; they stay.
        world: processes that share a batch.
    """
    train, optimiser = settings.train, settings.optimiser
    fitted = replace(settings, method_settings=_own(settings, rows, stated))
    parts = world * train.accumulate
    size = max(1, min(rows, MOST) // parts) * parts
    if "train.batch_size" not in stated and train.batch_size > rows * settings.clips_per_recording >= size:
        fitted = replace(fitted, train=replace(train, batch_size=size))
        if optimiser.kind in _SCALED and "optimiser.lr" not in stated:
            fitted = replace(fitted, optimiser=replace(optimiser, lr=optimiser.lr * size / train.batch_size))
    return fitted, diff(run_to_dict(settings), run_to_dict(fitted))


def sentence(rows: int, changed: Sequence[str]) -> str:
    """Return what is said of a run that was fitted."""
    told = [re.sub(r"^(.+?): (.+) -> (.+)$", r"\1 \3 (not \2)", line) for line in changed]
    return f"Fitted to {rows} recordings: {', '.join(told)}."


def _own(settings: RunSettings, rows: int, stated: Collection[str]) -> object:
    """Return the method's own settings, fitted where none of those that would change was stated."""
    before = settings.method_settings
    after = load_method(settings.method).fitted(before, rows)
    changed = {f"method.{line.partition(':')[0]}" for line in diff(before, after)}
    return before if changed & set(stated) else after

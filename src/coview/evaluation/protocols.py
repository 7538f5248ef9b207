"""Measuring a frozen model by one protocol or several, on features extracted once; a file for each protocol.

- linear-probe (`linear_probe.py`): a linear classifier of each view's backbone features, and of named stages.
- knn (`knn.py`): the vote of the 20 nearest training recordings, same features.
- retrieval (`retrieval.py`): from one view of a test recording to the other view, and within one view.

Protocols with a command and a result of their own: `fine_tune.py`, `few_shot.py`, `concepts.py`, `audio_probe.py`,
`supervised.py`. All of them run on one process or many; a result states the choices it was made by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from coview.data.source import Source
from coview.embedding.extract import Space
from coview.errors import UsageError
from coview.evaluation.bench import Bench, Progress, Result
from coview.evaluation.knn import knn
from coview.evaluation.linear_probe import linear_probe
from coview.evaluation.retrieval import Gallery, retrieve

if TYPE_CHECKING:
    from coview.model import Model

__all__ = ["PROTOCOLS", "Result", "evaluate"]

PROTOCOLS = ("linear-probe", "knn", "retrieval")


def evaluate(
    protocols: str | Sequence[str],
    model: Model,
    train: Source | None,
    test: Source,
    *,
    name: str,
    seed: int = 0,
    windows: int = 1,
    batch_size: int = 64,
    stages: Sequence[str] = (),
    as_released: bool = False,
    spaces: Sequence[Space] = ("projected",),
    galleries: Sequence[Gallery] = ("test",),
    progress: Progress = lambda what, done, total: None,
) -> Result:
    """Measure a model.

    Args:
        protocols: one or several of `PROTOCOLS`.
        model: stays as it is, which a hash of all its tensors before and after proves.
        train: labelled recordings for the classifiers; retrieval looks at it for a training gallery only.
        test: recordings that nothing was fitted on.
        name: stands behind the slash in the names of the figures.
        seed: of the held-out fifth and of the bootstrap.
        windows: evenly spaced cuts per recording.
        batch_size: recordings at a time.
        stages, as_released: of the linear probe.
        spaces, galleries: of retrieval.
        progress: called with (what is being done, done, total).

    Raises:
        UsageError: unknown protocol, or sources that do not fit together.
        CoviewError: the model changed while it was measured.
    """
    wanted = [protocols] if isinstance(protocols, str) else list(protocols)
    run: dict[str, Callable[[Bench], None]] = {
        "linear-probe": lambda bench: linear_probe(bench, stages=stages, as_released=as_released),
        "knn": knn,
        "retrieval": lambda bench: retrieve(bench, spaces=spaces, galleries=galleries),
    }
    for protocol in wanted:
        if protocol not in run:
            raise UsageError(f"there is no protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
    bench = Bench(
        model, train, test, name=name, seed=seed, windows=windows, batch_size=batch_size, progress=progress
    )  # fmt: skip
    with bench:
        for protocol in wanted:
            run[protocol](bench)
    bench.result.protocols = wanted
    return bench.result

"""Looks at the embeddings while a run goes on: their spread and rank, and their neighbours' labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from coview.data.source import Source
from coview.embedding.extract import extract
from coview.embedding.neighbours import knn_predict
from coview.methods.contract import Step
from coview.parallel import gather
from coview.randomness import mix

if TYPE_CHECKING:
    from coview.model import Model


@torch.no_grad()
def look(step: Step) -> dict[str, float]:
    """Return for every view the mean over dimensions of the standard deviation, and the effective rank.

    Over the samples of all processes. A deviation near 0, or a rank near 1, is collapse.
    """
    values = {}
    for view, local in sorted(step.embeddings.items()):
        embeddings = gather(local.float())
        if embeddings.shape[0] < 2:
            continue
        values[f"std/{view}"] = float(embeddings.std(0).mean())
        values[f"rank/{view}"] = effective_rank(embeddings)
    return values


def effective_rank(embeddings: Tensor) -> float:
    """Return exp of the entropy of the normalised singular values of centred (N, D); from 1 to min(N - 1, D).

    Roy & Vetterli, "The effective rank", EUSIPCO 2007. What is constant has rank 1.
    """
    centred = (embeddings - embeddings.mean(0)).double()
    # The Gram matrix of the shorter side has the squared singular values.
    gram = centred @ centred.T if centred.shape[0] <= centred.shape[1] else centred.T @ centred
    sizes = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    total = sizes.sum()
    if float(total) <= 1e-12 * max(1.0, float(embeddings.abs().max())):
        return 1.0
    share = sizes / total
    return float(torch.exp(-(share * share.clamp(min=1e-300).log()).sum()))


def knn(model: Model, source: Source, batch_size: int, limit: int = 1000) -> dict[str, float]:
    """Return for every view how often the 5 nearest neighbours vote for the right label, on training recordings.

    Of at most `limit` recordings, drawn once and for all, one half asks and the other votes. It watches; a protocol's
    figure comes from `coview evaluate`. Nothing is returned without labels.
    """
    labelled = torch.nonzero(source.labels >= 0).flatten()
    if labelled.numel() < 4 or not source.classes:
        return {}
    # Hashed: labels may well repeat along the rows.
    rows = labelled[torch.argsort(mix(labelled))[:limit]].sort().values
    features = extract(model, source, space="projected", batch_size=batch_size, rows=rows)
    values = {}
    for view, embeddings in features.values.items():
        there = features.present[view]
        ask = there & (mix(rows) & 1 == 0)
        vote = there & ~ask
        if bool(ask.any()) and bool(vote.any()):
            labels = features.labels
            predicted = knn_predict(embeddings[vote], labels[vote], embeddings[ask], len(source.classes), neighbours=5)
            values[f"knn/{view}"] = float((predicted == labels[ask]).double().mean())
    return values

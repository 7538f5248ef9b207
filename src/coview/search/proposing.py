"""Labels without labels: the class whose name lies nearest to a recording, and how sure the model is of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.errors import UsageError
from coview.evaluation.calibration import confidences
from coview.evaluation.naming import class_texts, named_views, prompts_for
from coview.search.labels import Proposal

if TYPE_CHECKING:
    from coview.data.stored import Stored
    from coview.model import Model

SCALE = 100.0  # of models that have not learnt one: the most that CLIP's may become
_ROWS = 4096  # recordings at a time


@dataclass(frozen=True)
class Asked:
    """How confidences are made, plain data.

    Attributes:
        prompts: view -> the sentences that names stand in.
        scale: view -> (scale, bias) of its cosines; with a bias, confidences are those of each class by itself.
        learnt: whether the model has learnt these scales.
        names: which of the names the model tells apart.
        lacking: why it does not tell the others.
    """

    prompts: Mapping[str, Sequence[str]]
    scale: Mapping[str, tuple[float, float | None]]
    learnt: bool
    names: list[str]
    lacking: list[str]


def propose(
    model: Model, stored: Stored, classes: Sequence[str], *, prompts: Sequence[str] = (), view: str | None = None,
    scale: float | None = None, least: float = 0.0,
) -> tuple[list[Proposal], Asked]:  # fmt: skip
    """Return a proposal for every recording that has one of the views, in the order of the store.

    Scores of several views that share a space with words are averaged, and so are a recording's windows.

    Args:
        classes: names, at least two that the model tells apart.
        prompts: sentences with {} in the place of the name; none: as `naming.prompts_for` chooses.
        view: only this one; None: all that share a space with words.
        scale: of the cosines, instead of that which the model has learnt.
        least: confidence below which no label is proposed.

    Raises:
        UsageError: fewer than two names can be told apart, or no stored view shares a space with words.
    """
    able = named_views(model)
    views = [name for name in able if name in stored.views and view in (None, name)]
    if not views:
        there = ", ".join(name for name in able if name in stored.views) or "none"
        raise UsageError(f"no embeddings of {view or 'a view'} that lie in one space with words; there are of: {there}")
    sentences = {name: prompts_for(model, name, prompts) for name in views}
    texts = {name: class_texts(model, classes, sentences[name]) for name in views}
    told = torch.stack([each.told for each in texts.values()]).all(0)
    lacking = list(dict.fromkeys(line for each in texts.values() for line in each.lacking))
    names = [name for name, known in zip(classes, told.tolist(), strict=True) if known]
    if len(names) < 2:
        raise UsageError(f"two classes at least are told apart by their names; {'; '.join(lacking) or 'name two'}")
    own = {name: model.method.sureness(name) for name in views}
    known = {name: (SCALE, None) if learnt is None else learnt for name, learnt in own.items()}
    scales = {name: (value, bias) if scale is None else (scale, None) for name, (value, bias) in known.items()}
    asked = Asked(sentences, scales, scale is not None or None not in own.values(), names, lacking)
    found: list[Proposal] = []
    for rows in torch.split(torch.arange(len(stored.ids)), _ROWS):
        logits, seen = torch.zeros(len(rows), len(names)), torch.zeros(len(rows))
        for name in views:
            cosine, present = _cosines(stored, name, rows, texts[name].vectors[told])
            value, bias = scales[name]
            logits += torch.where(present[:, None], value * cosine + (bias or 0.0), 0.0)
            seen += present
        logits /= seen.clamp(min=1)[:, None]
        alone = all(bias is not None for _, bias in scales.values())
        sure, chosen = confidences(logits, alone).max(1)
        for row, has, number, how in zip(rows.tolist(), seen.tolist(), chosen.tolist(), sure.tolist(), strict=True):
            if has:
                found.append(Proposal(stored.ids[row], names[number] if how >= least else None, round(how, 4)))
    return found, asked


def _cosines(stored: Stored, view: str, rows: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cosines (B, C) of the rows' windows that are there, and bool (B,): which rows have any."""
    chosen = rows.numpy()
    clips = normalize(torch.from_numpy(stored.clips[view][chosen]).float(), dim=2)
    present = torch.from_numpy(stored.present[view][chosen])
    cosines = torch.where(present[..., None], clips @ texts.T, 0.0)
    return cosines.sum(1) / present.sum(1).clamp(min=1)[:, None], present.any(1)

"""Classes by their names: what a model reads in them, in several sentences each, and how near a recording lies to each.

Sentences around a name, and the mean of their unit vectors: Radford et al., "Learning transferable visual models from
natural language supervision", ICML 2021 (arXiv 2103.00020), section 3.1.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.data.words import lost_signs
from coview.errors import UsageError

if TYPE_CHECKING:
    from coview.model import Model

PLAIN = ("{}",)
# Of models that learnt from sentences about pictures or sounds.
ENSEMBLES: Mapping[str, tuple[str, ...]] = {
    "picture": (
        "a photo of a {}.", "a picture of the {}.", "a close-up of a {}.", "a blurry photo of a {}.",
        "a drawing of a {}.", "a frame of a film with a {}.", "one can see {} here.",
    ),
    "sound": ("the sound of {}.", "this is a sound of {}.", "a recording of {}.", "one can hear {}."),
}  # fmt: skip
_SAME = 1e-6  # cosines of two names that differ by less from 1 are those of one text
_NAMED = 5  # names in a sentence
_LONGEST = 1 << 20  # bytes of a file of sentences


class ClassTexts(NamedTuple):
    """What a model makes of names: unit vectors (C, D), which of them (C,) say something, and why others do not."""

    vectors: Tensor
    told: Tensor
    lacking: list[str]


def read_prompts(given: Sequence[str]) -> tuple[str, ...]:
    """Return sentences with {} in the place of a name: those given, or the lines of the one file that is given.

    Raises:
        UsageError: one has no {}, or the file cannot be read.
    """
    found = list(given)
    if len(found) == 1 and "{}" not in found[0]:
        path = Path(found[0])
        try:
            if not path.is_file() or path.stat().st_size > _LONGEST:
                raise ValueError("it is no such file")
            found = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, ValueError) as error:
            raise UsageError(
                f"--prompts {found[0]!r}: expected sentences with {{}} in the place of the name, or a text file with "
                f"one in each line ({error})"
            ) from error
    wrong = [text for text in found if text.count("{}") != 1]
    if wrong or (given and not found):
        raise UsageError(f"--prompts: expected {{}} once in each sentence, in the place of the name: {wrong[:3]}")
    return tuple(found)


def prompts_for(model: Model, view: str, given: Sequence[str]) -> tuple[str, ...]:
    """Return the sentences for a view: those given, else a few of its kind where the model has learnt how sure it is.

    Such models have learnt from sentences; others get the bare name.
    """
    spec = model.views.get(view)
    if given or model.method.sureness(view) is None or spec is None or spec.medium is None:
        return tuple(given) or PLAIN
    return ENSEMBLES[spec.medium]


def class_texts(model: Model, names: Sequence[str], prompts: Sequence[str]) -> ClassTexts:
    """Return what a model reads in names, underscores as spaces: the mean over prompts of unit vectors.

    A name says nothing to it where its vector is zero, where the model reads it without a sign that makes it another
    word ("c++" as "c"), or where it reads two names alike.

    Raises:
        UsageError: the model reads no words.
    """
    plain = [name.replace("_", " ") for name in names]
    total = torch.zeros(1)
    for prompt in prompts:
        total = total + normalize(model.embed_texts([prompt.replace("{}", name) for name in plain]), dim=1)
    vectors = normalize(total, dim=1)
    without = model.embed_texts([prompt.replace("{}", "") for prompt in prompts])
    empty = normalize(normalize(without, dim=1).sum(0), dim=0)
    lacking, told = [], torch.ones(len(names), dtype=torch.bool)

    def leave_out(which: list[int], why: str) -> None:
        told[which] = False
        if which:
            more = f" and {len(which) - _NAMED} more" if len(which) > _NAMED else ""
            listed = ", ".join(names[number] for number in which[:_NAMED])
            lacking.append(f"{len(which)} names of classes {why}: {listed}{more}")

    silent = (vectors.norm(dim=1) == 0) | ((vectors @ empty > 1 - _SAME) & (empty.norm() > 0))
    leave_out(silent.nonzero().flatten().tolist(), "say nothing to the model")
    read = [_read(model, name) for name in plain]
    changed = [n for n, name in enumerate(plain) if told[n] and lost_signs(name, read[n])]
    leave_out(changed, "are read without their signs, as other words")
    alike = vectors @ vectors.T > 1 - _SAME
    alike.fill_diagonal_(False)
    same = (alike & told & told[:, None]).any(1)
    leave_out(same.nonzero().flatten().tolist(), "are read like another one")
    return ClassTexts(vectors, told, lacking)


def named_views(model: Model) -> list[str]:
    """Return the embeddings that can be compared with words, in order: those in the space of the view of words.

    Raises:
        UsageError: the model reads no words.
    """
    words = next((name for name, spec in model.views.items() if spec.spell("") is not None), None)
    if words is None:
        raise UsageError(f"classes are named to a model of captions; this one has {', '.join(model.views)}")
    names = [name for name in model.distinct_views() if name not in model.views or model.views[name].spell("") is None]
    return [name for name in names if model.dim[name] == model.dim[words] and model.method.comparable(name, words)]


def _read(model: Model, name: str) -> str:
    """Return what the model reads of a name, as far as that can be told."""
    spec = next(spec for spec in model.views.values() if spec.spell("") is not None)
    raw = spec.spell(name)
    words = None if raw is None else spec.words(raw)
    return name if words is None else words

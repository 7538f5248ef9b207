"""`coview fuse METHOD FEATURES...`: bring the features of two or more frozen encoders into one space."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from coview.cli.options import Asked, read_run
from coview.cli.output import Output
from coview.cli.places import check_files, check_sources
from coview.errors import UsageError
from coview.methods import available
from coview.methods.cards import card_of

if TYPE_CHECKING:
    from coview.data.source import Source
    from coview.data.views import ViewSpec
    from coview.training.settings import RunSettings

HELP = """usage: coview fuse METHOD FEATURES... -o MODEL [--beside COLLECTION] [options]

Bring features that were computed before into one space, in which `coview evaluate retrieval` and `coview search` then
compare them. FEATURES are what `coview embed` wrote, or Parquet, .safetensors or .npy files, joined by the recordings'
ids; NAME=FILE gives a view a name. METHOD is one that learns from any features; those of CCA are solved at once, the
others trained: {methods}.

  --beside COLLECTION   the collection or world that the features are of: it has their labels and splits
  --split SPLIT         train (the default), validation or test
  --as-they-are         do not bring every feature to mean 0 and deviation 1 first
  --method.NAME VALUE   the method's own settings (coview pretrain METHOD --help lists these and those of the training)

Examples:
  coview embed --model run-a --collection my-collection --space backbone -o a
  coview embed --model run-b --collection my-collection --space backbone -o b
  coview fuse cca picture=a sound=b -o fused --beside my-collection --method.components 64
  coview fuse dcca picture=a sound=b -o fused --beside my-collection --method.dimension 10 --train.epochs 50
  coview evaluate retrieval --model fused --collection picture=a,sound=b@my-collection
"""


def fusing() -> list[str]:
    """Return the methods whose views are whatever vectors there are; those without training first."""
    cards = {slug: card_of(slug) for slug in available()}
    fitting = [slug for slug, card in cards.items() if card.features]
    return sorted(fitting, key=lambda slug: (not cards[slug].closed_form, slug))


@dataclass
class _Features:
    """What `fuse` takes beside a run's options."""

    beside: str = ""
    split: Literal["train", "validation", "test"] = "train"
    as_they_are: bool = False


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        print(HELP.format(methods=", ".join(fusing())), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    asked = read(argv)
    from coview.cli import pretrain
    from coview.methods import load_method

    if asked.arguments.dry_run or not load_method(asked.settings.method).closed_form:
        return pretrain.start(asked)
    from coview.evaluation.correlations import correlations
    from coview.training.closed_form import fit

    settings, out = asked.settings, Output(json=asked.arguments.json)
    with out.steps() as show:
        model = fit(settings, asked.arguments.out, progress=lambda done, total: show("reading features", done, total))
    parts = [("fitted", _opened(settings, model.views, settings.split)), *pretrain.other_parts(settings, model.views)]
    figures = {f"correlations_{part}": correlations(model, source) for part, source in parts}
    views = {name: str(view) for name, view in model.views.items()}
    out.result({"model": str(asked.arguments.out), "views": views, **figures})
    out.next("coview", "evaluate", "retrieval", "--model", asked.arguments.out, "--collection", settings.collection)
    return 0


def read(argv: list[str]) -> Asked:
    """Return the arguments and the settings of a run whose views are those of the features.

    Raises:
        UsageError: no such method, or no features.
    """
    method, rest = argv[0], argv[1:]
    if method not in (known := fusing()):
        raise UsageError(f"{method!r} does not fuse features; use one of {', '.join(known)}")
    features = list(itertools.takewhile(lambda word: not word.startswith("-"), rest))
    own, words = tyro.cli(_Features, args=rest[len(features) :], return_unknown_args=True, add_help=False)
    description = f"Bring features into one space by {method}; `coview fuse --help` says what FEATURES are."
    if {"-h", "--help"} & set(words):
        return read_run(f"fuse {' '.join(features) or 'FEATURES...'}", method, words, description)
    if not features:
        raise UsageError("say which features to fuse: folders of `coview embed`, Parquet, .safetensors or .npy files")
    check_files(*(Path(feature.partition("=")[2] or feature) for feature in features))
    check_sources(own.beside or None)
    name = ",".join(features) + (f"@{own.beside}" if own.beside else "")
    from coview.training.fusing import fusion_run

    base = fusion_run(method, name, split=own.split, as_they_are=own.as_they_are)
    return read_run("fuse", method, words, description, base, "the features")


def _opened(settings: RunSettings, views: Mapping[str, ViewSpec], split: Any) -> Source:
    from coview.data.open import open_source

    return open_source(settings.collection, views, split=split, seed=settings.seed)

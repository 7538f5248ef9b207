"""`coview fuse METHOD FEATURES...`: bring the features of two or more frozen encoders into one space."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from coview.cli.output import Output

if TYPE_CHECKING:
    from coview.data.source import Source
    from coview.model import Model
    from coview.training.settings import RunSettings

HELP = """usage: coview fuse METHOD FEATURES... -o MODEL [--beside COLLECTION] [options]

Bring features that were computed before into one space, in which `coview evaluate retrieval` and `coview search` then
compare them. FEATURES are what `coview embed` wrote, or Parquet, .safetensors or .npy files, joined by the recordings'
ids; NAME=FILE gives a view a name. METHOD is `cca`, which is solved at once, or any method of the correlation family,
which is trained: {methods}.

  --beside COLLECTION   the collection or world that the features are of: it has their labels and splits
  --split SPLIT         train (the default), validation or test
  --as-they-are         do not bring every feature to mean 0 and deviation 1 first
  --method.NAME VALUE   the method's own settings (coview pretrain METHOD --help lists these and those of the training)

Examples:
  coview embed --model run-a --collection my-collection --space backbone -o a
  coview embed --model run-b --collection my-collection --space backbone -o b
  coview fuse cca picture=a sound=b -o fused --beside my-collection --method.components 64
  coview fuse dcca picture=a sound=b -o fused --beside my-collection --method.dimension 20 --train.epochs 50
  coview evaluate retrieval --model fused --collection picture=a,sound=b@my-collection
"""

METHODS = (
    "dcca", "dccae", "corrae", "distae", "noi", "dgcca", "supervised-dcca", "tnn-c-cca", "vae-cca", "splitae", "vcca",
    "vcca-private",
)  # fmt: skip


@dataclass
class Words:
    """The command line, taken apart: what `fuse` itself needs, and the rest, which is a run's settings."""

    method: str
    features: list[str]
    beside: str
    split: str
    standardise: bool
    rest: list[str]


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        print(HELP.format(methods=", ".join(METHODS)))
        return 0 if argv else 2
    words = take_apart(argv)
    arguments, settings = resolve(words)
    from coview.cli import pretrain
    from coview.methods import load_method

    if not load_method(words.method).closed_form:
        return pretrain.start(arguments, settings)
    from coview.training.closed_form import fit

    out = Output(json=arguments.json)
    with out.steps() as show:
        model = fit(settings, arguments.out, progress=lambda done, total: show("reading features", done, total))
    figures = correlations(model, settings)
    out.result(
        {"model": str(arguments.out), "views": {name: str(view) for name, view in model.views.items()}, **figures}
    )
    return 0


def take_apart(argv: list[str]) -> Words:
    """Split the command line into `fuse`'s own words and a run's.

    Raises:
        UsageError: no such method, or no features.
    """
    from coview.errors import UsageError

    method, rest = argv[0], argv[1:]
    if method not in ("cca", *METHODS):
        raise UsageError(f"{method!r} does not fuse features; use cca or one of {', '.join(METHODS)}")
    first = next((place for place, word in enumerate(rest) if word.startswith("-")), len(rest))
    words = Words(method, rest[:first], "", "train", True, [])
    following = iter(rest[first:])
    for word in following:
        name, _, value = word.partition("=")
        if name in ("--beside", "--split"):
            setattr(words, name[2:], value or next(following, ""))
        elif word == "--as-they-are":
            words.standardise = False
        else:
            words.rest.append(word)
    if not words.features:
        raise UsageError("say which features to fuse: folders of `coview embed`, Parquet, .safetensors or .npy files")
    return words


def resolve(words: Words) -> tuple[Any, RunSettings]:
    """Look into the features, and return the arguments and settings of a run whose views they are."""
    from coview.cli.pretrain import read
    from coview.data.features_source import open_features
    from coview.settings import to_dict

    name = ",".join(words.features) + (f"@{words.beside}" if words.beside else "")
    found = open_features(name).views
    views = {view: to_dict(spec) for view, spec in found.items()}
    for fields in views.values():
        fields["normalise"] = "statistics" if words.standardise else "none"
    own: dict[str, Any] = {"name": words.method, "views": views}
    if words.method == "cca":
        own["components"] = min(32, *(fields["dim"] for fields in views.values()))
    start = {"method": own, "collection": name, "split": words.split, "train": {"batch_size": 256}}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "settings.yaml"
        file.write_text(yaml.safe_dump(start, sort_keys=False), encoding="utf-8")
        return read(words.method, ["--settings", str(file), *words.rest])


def correlations(model: Model, settings: RunSettings) -> dict[str, Any]:
    """Return the correlations of the fitted space where it was fitted, and on other recordings if there are any."""
    from coview.data.open import open_source
    from coview.errors import UsageError

    source = open_source(settings.collection, model.views, split=settings.split, seed=settings.seed)
    figures = {"correlations_fitted": measure(model, source)}
    for split in ("validation", "test"):
        try:
            other = open_source(settings.collection, model.views, split=split, seed=settings.seed)
        except UsageError:  # there is no such part
            continue
        if not set(other.ids) & set(source.ids):
            return figures | {f"correlations_{split}": measure(model, other)}
    return figures


def measure(model: Model, source: Source) -> dict[str, Any]:
    """Return rows, the mean and the first canonical correlations of the model's space on a source."""
    import torch

    from coview.embedding.extract import extract

    features = extract(model, source, space="projected", batch_size=1024)
    together = torch.stack(list(features.present.values())).all(0)
    first, second = (features.values[view][together].double() for view in list(model.views)[:2])
    x, y = first - first.mean(0), second - second.mean(0)
    values = (x * y).sum(0) / (x.square().sum(0) * y.square().sum(0)).sqrt().clamp(min=1e-12)
    return {"recordings": int(together.sum()), "mean": float(values.mean()), "first": values[:5].tolist()}

"""The folder of a model: written whole, and read as what it is, a file that may come from anybody.

    model.safetensors      encoders, heads, what makes views, and the statistics of preprocessing
    preprocessing.json     how the views are cut, and what they are normalised by
    config.json            the method and its settings, what describes towers that came from a folder (`kept_towers`),
                           where it was trained, and the SHA-256 of the other files
    README.md              the card

What config.json claims costs nothing until the weights have confirmed it: the networks are built without memory first,
and their shapes are compared with those of the tensors that are really there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from coview.data.augment import AugmentSettings
from coview.data.preprocess import Preprocess
from coview.data.views import read_view
from coview.encoders.kept_towers import described_by, descriptions
from coview.errors import CoviewError, UsageError
from coview.files import read_json, read_tensors, sha256_of, write_aside, write_tensors, written_whole
from coview.methods import build
from coview.methods.contract import Facts, Method
from coview.model.card import card
from coview.settings import to_dict

FORMAT = 1
WEIGHTS, CUTS, CONFIG = "model.safetensors", "preprocessing.json", "config.json"
_OWN = ("format", "method", "settings", "towers", "files")  # of config.json; the rest is about the model
_JSON_BYTES = 1 << 24  # of config.json and of preprocessing.json: a hundred thousand classes fit in
_LARGEST = 1 << 20  # no number in the settings is larger, unless the weights are
_BESIDE = 1 << 28  # bytes that a method may have beside four times its weights: queues, targets
_EXPECTED = f"expected a run with a model (a run has one from its first checkpoint on) or a folder with {CONFIG}"
_REMEDY = "take the model of another checkpoint, or export it again"

T = TypeVar("T")


def kept_parts(method: Method, preprocess: Preprocess) -> dict[str, nn.Module]:
    """Return what a folder holds tensors of: what embeds, the encoders and projectors, and what makes views."""
    networks = {"encoders": method.encoders, "projectors": method.projectors, "makers": method.makers}
    return {**networks, "preprocess": preprocess}


def read_model(path: Path) -> tuple[Method, Preprocess, dict[str, Any]]:
    """Read a model folder, or the model of a run folder, onto the CPU; returns what `Model` is made of.

    Raises:
        UsageError: there is none; its files are damaged or do not fit each other; its weights are not finite.
    """
    folder = path / "model" if (path / "model" / CONFIG).exists() else path
    if not (folder / CONFIG).exists():
        raise UsageError(f"{path}: {_EXPECTED}, {CUTS} and {WEIGHTS}")
    config = read_json(folder / CONFIG, "the config of a model", remedy=_REMEDY, limit=_JSON_BYTES)
    if config.get("format") != FORMAT:
        raise UsageError(f"{folder}: format {config.get('format')!r}, but this version reads {FORMAT}")
    cuts = read_json(folder / CUTS, "the preprocessing of a model", remedy=_REMEDY, limit=_JSON_BYTES)
    tensors = read_weights(folder / WEIGHTS)
    slug, settings, facts = _checked(folder, config, tensors)
    towers = config.get("towers", {})

    def make() -> tuple[Method, Preprocess]:
        with described_by(towers):
            method = build(slug, settings, facts)
        return method, Preprocess(method.views, AugmentSettings())

    method, preprocess = _attempt(folder, lambda: _without_memory(make, tensors))
    tensors, called = method.under_todays_names(tensors), method.renamed_views
    views = _attempt(folder, lambda: {called.get(n, n): read_view(fields) for n, fields in cuts["views"].items()})
    if views != dict(method.views):
        raise UsageError(f"{folder}: {CUTS} does not say what {CONFIG} says; one was edited")
    _compare(folder, kept_parts(method, preprocess), tensors)
    most = 4 * sum(map(_bytes, tensors.values())) + _BESIDE
    if sum(map(_bytes, method.state_dict().values())) > most:
        raise UsageError(f"{folder}: {CONFIG} asks for a method of more than {most >> 20} MiB; {_REMEDY}")
    _check_digests(folder, config)
    method, preprocess = _attempt(folder, make)
    for part, module in kept_parts(method, preprocess).items():
        module.load_state_dict({name: tensors[f"{part}.{name}"] for name in module.state_dict()})
    about = {name: value for name, value in config.items() if name not in _OWN}
    return method, preprocess, about


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, all of them finite.

    Raises:
        UsageError: it is no such file, is damaged, or holds numbers that are not finite.
    """
    if not path.is_file():
        raise UsageError(f"{path}: {'no regular file' if path.exists() else 'not there'}; {_EXPECTED}")
    try:
        tensors = read_tensors(path)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
        raise UsageError(f"{path}: cannot be read as safetensors ({error}); {_REMEDY}") from error
    require_finite(path, tensors)
    return tensors


def require_finite(where: object, tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights that hold NaN or infinity: what they embed means nothing."""
    bad = [name for name, value in tensors.items() if value.is_floating_point() and not bool(value.isfinite().all())]
    if bad:
        raise UsageError(
            f"{where}: {len(bad)} of {len(tensors)} tensors hold NaN or infinity (first {bad[0]}): training diverged, "
            f"or the file is damaged; {_REMEDY}"
        )


def write_model(method: Method, preprocess: Preprocess, about: Mapping[str, Any], folder: Path) -> None:
    """Write a model's files, each whole or not at all; a folder that a killed call leaves can be read.

    Raises:
        UsageError: weights that are not finite.
        OSError, SafetensorError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = kept_parts(method, preprocess)
    state = {f"{part}.{name}": value for part, module in parts.items() for name, value in module.state_dict().items()}
    require_finite(folder, state)
    cuts = {"views": to_dict(method.views), "shapes": "raw: uint8 frames, float32 waveforms; see coview.data.views"}
    cuts["statistics"] = preprocess.statistics
    config = {
        "format": FORMAT,
        "method": method.about.slug,
        "settings": to_dict(method.settings),
        **({"towers": towers} if (towers := descriptions(method)) else {}),
        **about,
        "versions": {name: version(name) for name in ("coview", "torch")},
    }

    def describe(files: Mapping[str, list[str]]) -> None:
        write_aside(folder / CONFIG, json.dumps({**config, "files": files}, indent=1, ensure_ascii=False) + "\n")

    # Until both files have changed places, config.json allows the old ones and the new.
    before = {name: sha256_of(folder / name) for name in (WEIGHTS, CUTS) if (folder / name).is_file()}
    with written_whole(folder / WEIGHTS) as weights, written_whole(folder / CUTS) as text:
        write_tensors(state, weights)
        write_aside(text, json.dumps(cuts, indent=1) + "\n")
        digests = {WEIGHTS: sha256_of(weights), CUTS: sha256_of(text)}
        if before:
            describe({name: [digests[name], *([before[name]] if name in before else [])] for name in digests})
    write_aside(folder / "README.md", card(method, about))
    describe({name: [digest] for name, digest in digests.items()})


def _checked(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[str, Mapping[str, Any], Facts]:
    """Return method, settings and facts of a config whose fields are of the right kinds and sizes."""
    known, classes = config.get("collection"), config.get("classes")
    rows = known.get("rows") if isinstance(known, Mapping) else None
    problems = [
        f"{name}: expected {wanted}"
        for name, wanted, right in (
            ("method", "a name", isinstance(config.get("method"), str)),
            ("settings", "a group of settings", isinstance(config.get("settings"), Mapping)),
            ("collection.rows", "a whole number above 0", type(rows) is int and 0 < rows < 1 << 62),
            ("classes", "a list of names", isinstance(classes, list) and all(isinstance(c, str) for c in classes)),
        )
        if not right
    ]
    if not problems:
        most = max([_LARGEST, *map(_bytes, tensors.values())])
        problems = [line for name in ("settings", "towers") for line in _beyond(config.get(name), name, most)]
    if problems:
        raise UsageError(f"{folder / CONFIG}: " + "; ".join(problems[:5]) + f"; {_REMEDY}")
    assert isinstance(rows, int) and isinstance(classes, list)
    return config["method"], config["settings"], Facts(rows=rows, classes=len(classes), training=False)


def _beyond(value: Any, where: str, most: int) -> list[str]:
    """Return what in some settings no network can have: sizes beyond its own weights, numbers that are not finite."""
    if isinstance(value, Mapping):
        return [line for name, inner in value.items() for line in _beyond(inner, f"{where}.{name}", most)]
    if isinstance(value, list):
        return [line for place, inner in enumerate(value) for line in _beyond(inner, f"{where}[{place}]", most)]
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{where}: expected a finite number"]
    if isinstance(value, int) and abs(value) > (1 << 62 if where.endswith("seed") else most):
        return [f"{where}: {value} is larger than anything in {WEIGHTS}"]
    return []


def _without_memory(make: Callable[[], T], tensors: Mapping[str, Tensor]) -> T:
    """Build modules of shapes without numbers; gives up where they have many more parameters than there are tensors."""
    count, most = 0, 4 * len(tensors) + 4096

    def counted(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
        nonlocal count
        count += 1
        if count > most:
            raise ValueError(f"its networks would have more than {most} parameters, and the file holds {len(tensors)}")

    handle = register_module_parameter_registration_hook(counted)
    try:
        with torch.device("meta"):
            return make()
    finally:
        handle.remove()


def _attempt(folder: Path, make: Callable[[], T]) -> T:
    """Return what is made from a stranger's settings; whatever goes wrong in them is one sentence about the folder."""
    try:
        return make()
    except CoviewError as error:
        raise UsageError(f"{folder / CONFIG}: {error}") from error
    except Exception as error:  # networks raise anything when asked for what cannot be
        raise UsageError(
            f"{folder / CONFIG}: describes no model ({type(error).__name__}: {error}); {_REMEDY}"
        ) from error


def _compare(folder: Path, parts: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors of other names, shapes or kinds than the networks have."""
    wanted = {f"{part}.{name}": value for part, module in parts.items() for name, value in module.state_dict().items()}
    problems = [f"{name} is missing" for name in sorted(wanted.keys() - tensors.keys())]
    problems += [f"{name} is unknown" for name in sorted(tensors.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & tensors.keys()):
        one, other = tensors[name], wanted[name]
        if one.shape != other.shape or one.is_floating_point() != other.is_floating_point() or one.is_complex():
            problems.append(f"{name} is {one.dtype} {tuple(one.shape)}, expected {other.dtype} {tuple(other.shape)}")
    if problems:
        raise UsageError(
            f"{folder}: {WEIGHTS} does not fit {CONFIG}: {'; '.join(problems[:3])} ({len(problems)} in all)"
        )


def _check_digests(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse files that have changed since config.json was written; models of older versions say nothing of them."""
    files = config.get("files")
    for name in (WEIGHTS, CUTS):
        allowed = files.get(name) if isinstance(files, Mapping) else None
        if files is not None and (not isinstance(allowed, list) or sha256_of(folder / name) not in allowed):
            raise UsageError(
                f"{folder}: {name} is not the file that {CONFIG} was written with: it was edited, exchanged or "
                f"damaged; {_REMEDY}"
            )


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()

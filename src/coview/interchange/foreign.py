"""Reading published checkpoints of AVID-CMA and AV-SSRL into our models: tensors alone, nothing is unpickled.

Both codes keep `{"epoch", "model", ...}` with the model's names after "module.", and build the same networks under
different names. Their convolutions over space (1 x 3 x 3) and over time (3 x 1 x 1) are three-dimensional, ours are the
same numbers in two dimensions; their 1 x 1 x 1 shortcut is a matrix here.
"""

from __future__ import annotations

import dataclasses
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from coview.data.augment import AugmentSettings
from coview.data.preprocess import Preprocess
from coview.encoders.checkpoints import check_archive, check_sizes, load_archive
from coview.errors import CoviewError, UsageError
from coview.methods import build
from coview.methods.avid import AVIDSettings
from coview.methods.contract import Facts
from coview.model import Model
from coview.model.folder import require_finite
from coview.recipes import run_recipe

Family = Literal["av-ssrl", "avid-cma"]

_DEPTHS = {4: 10, 8: 18, 16: 34}  # residual blocks -> depth of the video network
_LAYERS = {  # names in a block of the video network, after "spatial", "temporal" or their short forms -> ours
    "s_conv1": "space1.0", "s_bn1": "space1.1", "t_conv1": "time1.0", "t_bn1": "time1.1", "s_conv2": "space2.0",
    "s_bn2": "space2.1", "t_conv2": "time2", "out_bn": "norm.0", "res_conv": "shortcut",
}  # fmt: skip
_STAGE = re.compile(r"video_model\.(conv[2-5]x)(?:\.(\d+))?\.(?:(spatial|spt|temporal|tmp)_)?(\w+)\.(\w+)")
_STATISTICS_BYTES = 1 << 22
_AUDIO = {"conv1": "0", "bn1": "1", "conv2": "3", "bn2": "4"}


def import_model(family: Family, path: Path, statistics: Path | None = None) -> Model:
    """Return the model in a published checkpoint, with the preprocessing of its publication.

    Args:
        family: "av-ssrl" (xID, VICReg, VICReg-Video and supervised checkpoints) or "avid-cma".
        statistics: the published .npz with `mean` and `std` per band of the spectrogram; None takes overall values.

    Raises:
        UsageError: the file is no such checkpoint, holds more than tensors, or its networks are not known here.
    """
    epoch, tensors = read_checkpoint(path)
    try:
        method, settings, classes = _recognise(family, path, tensors)
        names = [f"class {number}" for number in range(classes)]
        built = build(method, settings, Facts(rows=2, classes=classes, training=False))
    except CoviewError:
        raise
    except Exception as error:  # networks raise anything when asked for what cannot be
        why = f"{type(error).__name__}: {error}"
        raise UsageError(f"{path}: its networks are not those of {family} ({why})") from error
    wanted = {**built.state_dict()}
    found = {ours: _shaped(value, wanted.get(ours)) for name, value in tensors.items() if (ours := _our_name(name))}
    if method == "vicreg-video":  # one network under two names
        for name in [name for name in found if ".video." in name]:
            found[name.replace(".video.", ".video_later.")] = found[name]
    networks = {name for name in wanted if name.startswith(("encoders.", "projectors.", "classifier."))}
    strange = sorted(name for name in tensors if _our_name(name) not in networks)
    lacking = sorted(networks - set(found))
    wrong = [n for n in sorted(networks & set(found)) if _kind(found[n]) != _kind(wanted[n])]
    if strange or lacking or wrong:
        raise UsageError(
            f"{path}: its networks are not those of {family}'s {method}: unknown {strange[:3]}, missing {lacking[:3]}, "
            f"of another shape {wrong[:3]} ({len(strange)}, {len(lacking)} and {len(wrong)} in all)"
        )
    require_finite(path, {name: found[name] for name in networks})
    built.load_state_dict({**wanted, **{name: found[name] for name in networks}})
    preprocess = Preprocess(built.views, AugmentSettings())
    _set_statistics(preprocess, statistics)
    about = {
        "collection": {"name": f"{family} (imported)", "fingerprint": "", "rows": 2},
        "classes": names,
        "imported_from": path.name,
        "epochs": epoch,
        "statistics": statistics.name if statistics else "overall",
    }
    return Model(built, preprocess, about)


def read_checkpoint(path: Path) -> tuple[int, dict[str, Tensor]]:
    """Return the epoch and the model's tensors, without "module." before their names.

    Raises:
        UsageError: there is no such file, it holds objects, or no model's tensors.
    """
    loaded = load_archive(path)
    model = loaded.get("model") if isinstance(loaded, Mapping) else None
    if not isinstance(model, Mapping) or not model or not all(isinstance(value, Tensor) for value in model.values()):
        keys = ", ".join(map(str, loaded)) if isinstance(loaded, Mapping) else type(loaded).__name__
        raise UsageError(f"{path}: expected a mapping with 'model', a state_dict; found {keys}")
    check_sizes(path, model)
    epoch, named = loaded.get("epoch", 0), {str(name).removeprefix("module."): value for name, value in model.items()}
    return epoch if type(epoch) is int and 0 <= epoch < 1 << 31 else 0, named


def _recognise(family: Family, path: Path, tensors: Mapping[str, Tensor]) -> tuple[str, Any, int]:
    """Return the method's name, its settings and its number of classes."""
    stages = [match for name in tensors if (match := _STAGE.fullmatch(name))]
    blocks = {match.group(1, 2) for match in stages}
    depth = _DEPTHS.get(len(blocks))
    if depth is None:
        raise UsageError(f"{path}: {len(blocks)} blocks in its video network; {family} has 4, 8 or 16")
    encoder = f"r2plus1d-{depth}"
    heads = {kind: _sizes(tensors, kind) for kind in ("video_proj.projection", "video_exp.expansion")}
    if family == "avid-cma":
        head = heads["video_proj.projection"] or [128]
        return "avid", AVIDSettings(hidden=tuple(head[:-1]), embedding=head[-1], video_encoder=encoder), 0
    if "proj.weight" in tensors:
        settings = run_recipe("av_ssrl.supervised").method_settings
        return "supervised-av", dataclasses.replace(settings, video_encoder=encoder), tensors["proj.weight"].shape[0]
    if head := heads["video_exp.expansion"]:
        both = any(name.startswith("audio_model.") for name in tensors)
        settings = run_recipe("av_ssrl.vicreg" if both else "av_ssrl.vicreg_video").method_settings
        own = dataclasses.replace(settings, hidden=tuple(head[:-1]), embedding=head[-1], video_encoder=encoder)
        return "av-vicreg" if both else "vicreg-video", own, 0
    if head := heads["video_proj.projection"]:
        settings = run_recipe("av_ssrl.xid").method_settings
        return (
            "xid",
            dataclasses.replace(settings, hidden=tuple(head[:-1]), embedding=head[-1], video_encoder=encoder),
            0,
        )
    raise UsageError(f"{path}: neither a projection nor an expander nor a classifier; is it a checkpoint of {family}?")


def _sizes(tensors: Mapping[str, Tensor], head: str) -> list[int]:
    """Return the lengths that a head's linear layers give, in order."""
    own = {name: value for name, value in tensors.items() if name.startswith(f"{head}.") and value.ndim == 2}
    return [own[name].shape[0] for name in sorted(own, key=lambda name: int(name.split(".")[-2]))]


def _our_name(name: str) -> str | None:
    """Return what a tensor is called here; None where the name is not known."""
    if match := _STAGE.fullmatch(name):
        stage, block, kind, layer, leaf = match.groups()
        ours = _LAYERS.get(f"{kind[0]}_{layer}" if kind else layer)
        return f"encoders.video.{stage}.{block or 0}.{ours}.{leaf}" if ours else None
    if match := re.fullmatch(r"video_model\.conv1\.([01])\.(\w+)", name):
        return f"encoders.video.{'conv1' if match[1] == '0' else 'norm1.0'}.{match[2]}"
    if match := re.fullmatch(r"audio_model\.block([1-4])\.(conv1|bn1|conv2|bn2)\.(\w+)", name):
        return f"encoders.audio.conv{int(match[1]) + 1}x.{_AUDIO[match[2]]}.{match[3]}"
    if match := re.fullmatch(r"audio_model\.(conv1\.[01]\.\w+)", name):
        return f"encoders.audio.{match[1]}"
    if match := re.fullmatch(r"(video|audio)_(?:proj\.projection|exp\.expansion)\.(\d+\.\w+)", name):
        return f"projectors.{match[1]}.{match[2]}"
    return f"classifier.{match[1]}" if (match := re.fullmatch(r"proj\.(\w+)", name)) else None


def _shaped(theirs: Tensor, ours: Tensor | None) -> Tensor:
    """Return a tensor without the axes of length 1 that ours has not."""
    return theirs.reshape(ours.shape) if ours is not None and _squeezed(theirs) == _squeezed(ours) else theirs


def _kind(x: Tensor) -> tuple[Any, ...]:
    return tuple(x.shape), x.is_floating_point(), x.is_complex()


def _squeezed(x: Tensor) -> list[int]:
    return [extent for extent in x.shape if extent > 1]


def _set_statistics(preprocess: Preprocess, path: Path | None) -> None:
    buffers = dict(preprocess.named_buffers())
    if path is None:
        return
    if "audio_mean" not in buffers:
        raise UsageError(f"{path}: this checkpoint has no sound encoder, so that there are no statistics to set")
    try:
        if not path.is_file() or path.stat().st_size > _STATISTICS_BYTES:
            raise ValueError(f"no regular file of at most {_STATISTICS_BYTES} bytes")
        check_archive(path, 16 * _STATISTICS_BYTES)
        with np.load(path, allow_pickle=False) as file:
            values = {name: torch.from_numpy(file[name]).float() for name in ("mean", "std")}
        if not all(bool(value.isfinite().all()) for value in values.values()) or not bool((values["std"] > 0).all()):
            raise ValueError("they are not finite, or a deviation is not above 0")
    except (OSError, ValueError, KeyError, TypeError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: expected an .npz with `mean` and `std` per band: {error}") from error
    for name, value in values.items():
        own = buffers[f"audio_{name}"]
        if value.shape != own.shape:
            raise UsageError(f"{path}: {name} is {tuple(value.shape)}, the spectrogram needs {tuple(own.shape)}")
        own.copy_(value)

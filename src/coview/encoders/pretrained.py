"""Trained networks of torchvision and timm: how they are shown what they look at, and where their weights lie.

Weights come from a file that is named, or from where the library itself keeps what it has once fetched. Only where it
is asked for is anything fetched.
"""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision.models
import torchvision.models.video
from torch import nn

from coview.encoders.bridges import Bridged, check_name, timm_names
from coview.encoders.checkpoints import read_state
from coview.errors import UsageError

_CLIPS = {"s3d": (128, 15.0), "swin3d": (32, 15.0), "mvit": (16, 7.5)}  # frames and rate by the beginning of a name
_CLIP = (16, 15.0)  # of the others, from the notes of torchvision's weights
_HELPERS = ("aux", "AuxLogits", "head_dist")  # classifiers half-way up, which only training needs


class Looks(NamedTuple):
    """What a library shows its network: the facts that a view is cut by.

    Attributes:
        stream: kind of view: image, video, audio or text.
        resized, size: what the short side of a picture is brought to, and the square in its middle, in pixels.
        frames, fps: of a clip.
        rate, seconds: of a sound, samples per second and length.
        letters: of a text, at most.
    """

    stream: str
    resized: int = 0
    size: int = 0
    frames: int = 1
    fps: float = 1.0
    rate: int = 0
    seconds: float = 0.0
    letters: int = 0


def looks_of(library: str, name: str) -> Looks:
    """Return what "torchvision" or "timm" shows the network `name` when it is measured.

    Raises:
        UsageError: there is no such network (lists the nearest names), or the extra is missing.
    """
    if library == "timm":
        check_name(f"timm:{name}", "image", name, timm_names(name))
        about = _timm().get_pretrained_cfg(name)
        size = about.input_size[-1]
        return Looks("image", int(size / about.crop_pct), size)
    films = torchvision.models.list_models(module=torchvision.models.video)
    if name not in films:
        pictures = torchvision.models.list_models(module=torchvision.models)
        check_name(f"torchvision:{name}", "image or video", name, [*pictures, *films])
    shown = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    resized, size = min(shown.resize_size), shown.crop_size[-1]
    if name not in films:
        return Looks("image", resized, size)
    frames, fps = next((clip for start, clip in _CLIPS.items() if name.startswith(start)), _CLIP)
    return Looks("video", resized, size, frames, fps)


def find_weights(library: str, name: str, download: bool) -> Path:
    """Return the file in which the library keeps trained weights of `name`; fetches them first if `download`.

    Raises:
        UsageError: they are not there, or cannot be fetched: says where was looked and what to fetch by hand.
    """
    if library == "timm":
        about = _timm().get_pretrained_cfg(name)
        if not about.hf_hub_id:
            raise UsageError(f"timm:{name}: its authors give no weights on the hub; name a file: --weights FILE")
        return from_hub(about.hf_hub_id, about.hf_hub_filename or "model.safetensors", f"timm:{name}", download)
    url = torchvision.models.get_model_weights(name).DEFAULT.url
    path: Path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file() and download:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.rpartition("-")[2], progress=False)
        except (OSError, RuntimeError, ValueError) as error:
            raise UsageError(_lacking(f"torchvision:{name}", path, url, f"cannot be fetched ({error})")) from error
    if not path.is_file():
        raise UsageError(_lacking(f"torchvision:{name}", path, url, "nothing is fetched without --download"))
    return path


def from_hub(repository: str, file: str, asked: str, download: bool) -> Path:
    """Return a file of a repository of the Hugging Face hub: from the hub's cache, fetched first if `download`.

    Raises:
        UsageError: as `find_weights`; names the repositories of the cache that are called almost so.
    """
    try:
        hub: Any = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise UsageError(f'{asked} needs the extra: pip install "coview[transformers]"') from error
    place = Path(hub.constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    url = f"https://huggingface.co/{repository}/resolve/main/{file}"
    try:
        return Path(hub.hf_hub_download(repository, file, local_files_only=not download))
    except Exception as error:  # what the hub's client and the network raise has no common base
        why = f"cannot be fetched ({error})" if download else "nothing is fetched without --download"
        near = near_in_cache(repository)
        hint = f" The cache has {', '.join(near)}." if near else ""
        raise UsageError(_lacking(asked, place, url, why) + hint) from error


def near_in_cache(asked: str) -> list[str]:
    """Return up to three repositories in the hub's cache whose names are like, or hold, what was asked for."""
    hub: Any = importlib.import_module("huggingface_hub")
    folders = sorted(Path(hub.constants.HF_HUB_CACHE).glob("models--*--*"))
    there = [path.name.removeprefix("models--").replace("--", "/", 1) for path in folders]
    others = [name for name in there if name != asked]
    return (difflib.get_close_matches(asked, others) or [name for name in others if asked.lower() in name.lower()])[:3]


def take_weights(encoder: Bridged, path: Path, asked: str) -> None:
    """Give a library's network the weights in a file; those of the classifier, which it lacks, are left.

    Raises:
        UsageError: the file is damaged, or holds another network's weights.
    """
    tensors = read_state(path)
    net = encoder.network
    try:
        missing, unknown = net.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise UsageError(
            f"{path}: its weights are not those of {asked}: {str(error).splitlines()[-1].strip()}"
        ) from error
    gone = tuple(f"{name}." for name, module in net.named_modules() if isinstance(module, nn.Identity) and name)
    strange = [name for name in unknown if not name.startswith((*gone, *_HELPERS))]
    if missing or strange:
        raise UsageError(
            f"{path}: its weights are not those of {asked}: missing {missing[:3]}, unknown {strange[:3]} "
            f"({len(missing)} and {len(strange)} in all)"
        )


def _lacking(asked: str, place: Path, url: str, why: str) -> str:
    use = "name its folder by hf:FOLDER" if asked.startswith("hf:") else "name the file by --weights"
    return f"{asked}: it is not at {place}, and {why}. Fetch {url} by hand and {use}, or add --download."


def _timm() -> Any:
    return importlib.import_module("timm")

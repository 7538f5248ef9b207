"""Encoders by kind of view and short name; another package adds one by the entry points "coview.encoders.<stream>"."""

from __future__ import annotations

import difflib
import functools
import importlib
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any, Protocol, cast

from coview.encoders.alexnet import AlexNet
from coview.encoders.base import Encoder, Wrapped, take_channels
from coview.encoders.caffenet import CaffeNet
from coview.encoders.conv2d import Conv2D
from coview.encoders.davenet import DAVEnet
from coview.encoders.dilated_vgg import DilatedVGG
from coview.encoders.heads import Head, LinearHead, mlp
from coview.encoders.r2plus1d import R2Plus1D
from coview.encoders.small import SMALL, TINY, SmallPlane, SmallVideo
from coview.encoders.speech import SpeechAudio
from coview.encoders.strided import Strided
from coview.encoders.text import CharacterText, MiniLM
from coview.encoders.vgg import VGG
from coview.encoders.vgg16 import VGG16
from coview.errors import UsageError
from coview.plugins import entry_points

__all__ = [
    "AUDIO",
    "IMAGE",
    "TEXT",
    "VIDEO",
    "Encoder",
    "Head",
    "LinearHead",
    "Wrapped",
    "build_audio",
    "build_for",
    "build_image",
    "build_text",
    "build_video",
    "mlp",
]

Makers = dict[str, Callable[..., Encoder]]


def _later(module: str, name: str, *first: int | str) -> Callable[..., Encoder]:
    """Return what builds an encoder whose file is read once it is asked for: torchvision takes seconds to import."""

    def build(*arguments: Any) -> Encoder:
        kind = getattr(importlib.import_module(f"coview.encoders.{module}"), name)
        return cast(Encoder, kind(*first, *arguments))

    return build


VIDEO: Makers = {
    "r2plus1d-10": lambda: R2Plus1D(10),
    "r2plus1d-18": lambda: R2Plus1D(18),
    "r2plus1d-34": lambda: R2Plus1D(34),
    "r2plus1d-18-wide": _later("resnets", "WideR2Plus1D"),
    "vgg": VGG,
    "video-tiny": lambda: SmallVideo(TINY),
    "video-small": lambda: SmallVideo(SMALL, difference=True),
}
AUDIO: Makers = {
    "conv2d": Conv2D,
    "davenet": DAVEnet,  # for 40 bands
    "resnet-9": _later("resnets", "AudioResNet", 9),
    "resnet-18": _later("resnets", "AudioResNet", 18),
    "vgg": lambda: VGG(channels=1),
    "audio-tiny": lambda: SmallPlane(1),
    "audio-small": lambda: SmallPlane(1),
    "audio-speech": SpeechAudio,  # for 40 bands
}
TEXT: Makers = {"text-characters": CharacterText, "minilm": MiniLM}
SEER = ("tiny", "8gf", "16gf", "32gf", "64gf", "128gf", "256gf", "10b")  # sizes of RegNetY
IMAGE: Makers = {  # of a number of channels
    "image-tiny": SmallPlane,
    "alexnet": AlexNet,
    "alexnet-half": functools.partial(AlexNet, share=0.5),
    "vgg-16": VGG16,
    "vgg-dilated": DilatedVGG,
    "caffenet": CaffeNet,
    "caffenet-pool5": functools.partial(CaffeNet, whole=True),
    "caffenet-batchnorm": functools.partial(CaffeNet, batchnorm=True),
    "caffenet-patches": functools.partial(CaffeNet, patches=True),
    "caffenet-fc7": _later("fully_connected", "CaffeNetFC7"),
    "googlenet": _later("googlenet", "GoogLeNet"),
    "strided": Strided,
    "resnet-18": _later("image", "ResNet", 18),
    "resnet-50": _later("image", "ResNet", 50),
    **{f"regnety-{size}": _later("regnet", "RegNetY", size) for size in SEER},
}
_KINDS: dict[str, Makers] = {"video": VIDEO, "flow": VIDEO, "audio": AUDIO, "text": TEXT, "image": IMAGE}
_COLOURS = 3  # channels of a picture


class Seen(Protocol):
    """What an encoder has to know of a view."""

    @property
    def stream(self) -> str:
        """The view's kind."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one model view; channels first, where it is a picture."""
        ...

    @property
    def scale(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Mean and deviation of each channel by which every view is scaled; None where there are no such numbers."""
        ...

    @property
    def stored(self) -> dict[str, Any]:
        """What its raw views are made by, such as a sound's rate and how a text is spelt."""
        ...


def build_for(view: Seen, name: str) -> Encoder:
    """Build the encoder of a view, fresh weights, by its short name; pictures may have any number of channels.

    A name such as "timm:resnet50" is that of a library's network: see `bridges`. "hf:FOLDER" comes with its trained
    weights: see `learning`.

    Raises:
        UsageError: there is no such encoder of this kind of view; names the known ones, or the nearest.
    """
    if ":" in name:
        library, _, own = name.partition(":")
        if library == "hf":
            return _later("learning", "learning_tower")(own, view.stream, view.shape, view.scale, view.stored)
        return _later("bridges", "bridged")(library, own, view.stream, view.shape, view.scale)
    if view.stream == "image":
        return build_image(name, view.shape[0])
    encoder = _build(view.stream, name)
    if len(view.shape) == 4 and view.shape[0] != _COLOURS:  # a clip
        take_channels(encoder, view.shape[0] - _COLOURS)
    return encoder


def build_video(name: str) -> Encoder:
    """Build a video encoder, fresh weights, from its short name; raises UsageError with the known names."""
    return _build("video", name)


def build_audio(name: str) -> Encoder:
    """Build an audio encoder, fresh weights, from its short name; raises UsageError with the known names."""
    return _build("audio", name)


def build_text(name: str) -> Encoder:
    """Build a text encoder from its short name; raises UsageError with the known names."""
    return _build("text", name)


def build_image(name: str, channels: int = _COLOURS) -> Encoder:
    """Build an image encoder, fresh weights, from its short name; raises UsageError with the known names.

    Args:
        channels: of the pictures: 3, or 1 of lightness or 2 of colour.
    """
    return _build("image", name, channels)


def _build(stream: str, name: str, *arguments: int) -> Encoder:
    others = {point.name: _loaded(point) for point in entry_points(group=f"coview.encoders.{stream}")}
    known = others | _KINDS.get(stream, {})
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise UsageError(f"unknown {stream} encoder {name!r}{hint} Known: {', '.join(known) or 'none'}")
    return known[name](*arguments)


def _loaded(point: EntryPoint) -> Callable[..., Encoder]:
    """Return what loads and builds an encoder of another package, once it is asked for.

    Raises:
        UsageError: the package cannot be imported, or makes no encoder.
    """

    def build(*arguments: int) -> Encoder:
        try:
            maker = point.load()
        except (ImportError, AttributeError) as error:
            raise UsageError(f"the encoder {point.name!r} of {point.value} cannot be imported ({error})") from error
        made = maker(*arguments)
        if not isinstance(made, Encoder):
            kind = type(made).__name__
            raise UsageError(f"{point.value} makes a {kind}, no encoder: return coview.encoders.Wrapped(network, dim)")
        return made

    return build

"""Encoders by their short names."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping

from coview.encoders.base import Encoder
from coview.encoders.conv2d import Conv2D
from coview.encoders.davenet import DAVEnet
from coview.encoders.heads import mlp
from coview.encoders.image import ResNet
from coview.encoders.r2plus1d import R2Plus1D
from coview.encoders.regnet import SIZES, RegNetY
from coview.encoders.resnets import AudioResNet, WideR2Plus1D
from coview.encoders.small import SMALL, TINY, SmallPlane, SmallVideo
from coview.encoders.speech import SpeechAudio
from coview.encoders.text import CharacterText, MiniLM
from coview.encoders.vgg import VGG
from coview.errors import UsageError

VIDEO: dict[str, Callable[[], Encoder]] = {
    "r2plus1d-10": lambda: R2Plus1D(10),
    "r2plus1d-18": lambda: R2Plus1D(18),
    "r2plus1d-34": lambda: R2Plus1D(34),
    "r2plus1d-18-wide": WideR2Plus1D,
    "vgg": VGG,
    "video-tiny": lambda: SmallVideo(TINY),
    "video-small": lambda: SmallVideo(SMALL, difference=True),
}
AUDIO: dict[str, Callable[[], Encoder]] = {
    "conv2d": Conv2D,
    "davenet": DAVEnet,  # for 40 bands
    "resnet-9": lambda: AudioResNet(9),
    "resnet-18": lambda: AudioResNet(18),
    "vgg": lambda: VGG(channels=1),
    "audio-tiny": lambda: SmallPlane(1),
    "audio-small": lambda: SmallPlane(1),
    "audio-speech": SpeechAudio,  # for 40 bands
}
TEXT: dict[str, Callable[[], Encoder]] = {"text-characters": CharacterText, "minilm": MiniLM}

IMAGE: dict[str, Callable[[int], Encoder]] = {  # of a number of channels
    "image-tiny": SmallPlane,
    "resnet-18": functools.partial(ResNet, 18),
    "resnet-50": functools.partial(ResNet, 50),
    **{f"regnety-{size}": functools.partial(RegNetY, size) for size in SIZES},
}

__all__ = [
    "AUDIO",
    "IMAGE",
    "TEXT",
    "VIDEO",
    "Encoder",
    "build_audio",
    "build_image",
    "build_text",
    "build_video",
    "mlp",
]


def build_video(name: str) -> Encoder:
    """Build a video encoder, fresh weights, from its short name; raises UsageError with the known names."""
    return _build(VIDEO, "video", name)


def build_audio(name: str) -> Encoder:
    """Build an audio encoder, fresh weights, from its short name; raises UsageError with the known names."""
    return _build(AUDIO, "audio", name)


def build_text(name: str) -> Encoder:
    """Build a text encoder from its short name; raises UsageError with the known names."""
    return _build(TEXT, "text", name)


def build_image(name: str, channels: int = 3) -> Encoder:
    """Build an image encoder, fresh weights, from its short name; raises UsageError with the known names.

    Args:
        channels: of the pictures: 3, or 1 of lightness or 2 of colour.
    """
    return _build(IMAGE, "image", name, channels)


def _build(known: Mapping[str, Callable[..., Encoder]], kind: str, name: str, *arguments: int) -> Encoder:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise UsageError(f"unknown {kind} encoder {name!r}{hint} Known: {', '.join(known)}")
    return known[name](*arguments)

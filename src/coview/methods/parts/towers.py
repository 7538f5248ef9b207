"""What the methods over any two named views share: which views, with which networks.

Film and sound, film or still and caption, sound and caption, or two clips of one recording, without any new code.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from torch import nn

from coview.data.views import AudioView, ImageView, TextView, VideoView, ViewSpec
from coview.encoders import Encoder, build_audio, build_image, build_text, build_video, mlp
from coview.methods.parts.batch import TINY_AUDIO, TINY_VIDEO
from coview.methods.parts.crops import TINY_IMAGE

TINY: dict[str, Any] = {
    "video": TINY_VIDEO,
    "audio": TINY_AUDIO,
    "video_encoder": "video-tiny",
    "audio_encoder": "audio-tiny",
}
ViewName = Literal["video", "video_later", "image", "audio", "text"]


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """A clip and its sound, and an encoder for each."""

    video: VideoView = field(default_factory=VideoView)
    audio: AudioView = field(default_factory=AudioView)
    video_encoder: str = "r2plus1d-18"
    audio_encoder: str = "conv2d"

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and the demo: small networks on the views of the digits world."""
        return cls(**TINY)

    def specs(self) -> dict[str, ViewSpec]:
        """Return the views."""
        return {"video": self.video, "audio": self.audio}


@dataclass(frozen=True, kw_only=True)
class TwoViewSettings:
    """Which two views, how they are cut, their encoders and their heads; what is not named is not used."""

    views: tuple[ViewName, ViewName] = ("video", "audio")
    video: VideoView = field(default_factory=VideoView)
    later: tuple[float, float] = (2.0, 8.0)  # s from "video" to "video_later", which has the same encoder and head
    image: ImageView = field(default_factory=ImageView)  # a still, or one frame of a film
    audio: AudioView = field(default_factory=AudioView)
    text: TextView = field(default_factory=TextView)
    video_encoder: str = "r2plus1d-18"
    image_encoder: str = "resnet-50"
    audio_encoder: str = "conv2d"
    text_encoder: str = "text-characters"
    hidden: tuple[int, ...] = (512,)  # hidden layers of each head
    head_batchnorm: bool = True
    embedding: int = 128

    def __post_init__(self) -> None:
        if self.views[0] == self.views[1]:
            raise ValueError(f"views: two different ones are needed, found {self.views[0]!r} twice")
        if "video_later" in self.views and "video" not in self.views:
            raise ValueError("views: video_later goes with video")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and small computers: small networks on the views of the digits world."""
        return cls(
            video=TINY_VIDEO,
            image=TINY_IMAGE,
            audio=TINY_AUDIO,
            text=TextView(length=40),
            video_encoder="video-tiny",
            image_encoder="image-tiny",
            audio_encoder="audio-tiny",
            hidden=(256,),
        )

    def specs(self) -> dict[str, ViewSpec]:
        """Return the named views, in their order."""
        known: dict[str, ViewSpec] = {
            "video": self.video,
            "video_later": replace(self.video, after=self.later),
            "image": self.image,
            "audio": self.audio,
            "text": self.text,
        }
        return {name: known[name] for name in self.views}


def build_networks(settings: TwoViewSettings) -> tuple[nn.ModuleDict, nn.ModuleDict]:
    """Build encoders and heads, view -> network; `video_later` shares those of `video`."""
    encoders, heads = nn.ModuleDict(), nn.ModuleDict()
    for name in settings.views:
        if name == "video_later" and "video" in encoders:
            encoders[name], heads[name] = encoders["video"], heads["video"]
            continue
        encoder = _build(name, settings)
        encoders[name] = encoder
        heads[name] = mlp((encoder.dim, *settings.hidden, settings.embedding), batchnorm=settings.head_batchnorm)
    return encoders, heads


def _build(name: ViewName, settings: TwoViewSettings) -> Encoder:
    if name == "audio":
        return build_audio(settings.audio_encoder)
    if name == "text":
        return build_text(settings.text_encoder)
    return build_image(settings.image_encoder) if name == "image" else build_video(settings.video_encoder)

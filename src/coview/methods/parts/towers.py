"""Networks of methods with one encoder and one head for each view: the views' settings, and what builds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from coview.data.views import AudioView, Batch, ImageView, TextView, VideoView, ViewSpec
from coview.encoders import Encoder, Head, build_for, mlp
from coview.methods.contract import Method
from coview.methods.parts.batch import TINY_AUDIO, TINY_VIDEO
from coview.methods.parts.crops import TINY_IMAGE

LATER = "video_later"  # the second clip of a recording, which has the networks of "video"
AGAIN = {LATER: "video", "image_2": "image"}  # a second look at a recording -> the view whose networks it has
ViewName = Literal["video", "video_later", "image", "image_2", "audio", "text"]
TINY: dict[str, Any] = {
    "video": TINY_VIDEO,
    "audio": TINY_AUDIO,
    "video_encoder": "video-tiny",
    "audio_encoder": "audio-tiny",
}


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """A clip and its sound, and an encoder for each."""

    video: VideoView = field(default_factory=VideoView)
    audio: AudioView = field(default_factory=AudioView)
    video_encoder: str = "r2plus1d-18"  # network of clips
    audio_encoder: str = "conv2d"  # network of sounds

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and the demo: small networks on the views of the digits world."""
        return cls(**TINY)

    def specs(self) -> dict[str, ViewSpec]:
        """Return the views."""
        return {"video": self.video, "audio": self.audio}


@dataclass(frozen=True, kw_only=True)
class NamedViewSettings(PairSettings):
    """Which views, by name, how they are cut, their encoders and their heads; what is not named is not used."""

    renamed: ClassVar[Mapping[str, str]] = {"apart": "later"}

    views: tuple[str, ...] = ("video", "audio")  # those that are compared
    later: tuple[float, float] = (2.0, 8.0)  # s from "video" to "video_later", which has the same encoder and head
    image: ImageView = field(default_factory=ImageView)  # a still, or one frame of a film
    text: TextView = field(default_factory=TextView)
    image_encoder: str = "resnet-50"  # network of pictures
    text_encoder: str = "text-characters"  # network of captions
    hidden: tuple[int, ...] = (512,)  # hidden layers of each head
    head_batchnorm: bool = True  # batch normalisation in the heads
    embedding: int = 128  # length of the vectors that are compared

    def __post_init__(self) -> None:
        for name in self.views:
            if self.views.count(name) > 1:
                raise ValueError(f"views: different ones are needed, found {name!r} twice")
            if AGAIN.get(name, name) not in self.views:
                raise ValueError(f"views: {name} goes with {AGAIN[name]}")
        if len(self.views) < 2:
            raise ValueError(f"views: two or more are needed, found {', '.join(self.views) or 'none'}")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests, dry runs and small computers: small networks on the views of the digits world."""
        return cls(**TINY, image=TINY_IMAGE, text=TextView(length=40), image_encoder="image-tiny", hidden=(256,))

    def known(self) -> dict[str, ViewSpec]:
        """Return the views that can be named."""
        own = {name: getattr(self, name) for name in ("video", "image", "audio", "text")}
        return own | {LATER: replace(self.video, after=self.later), "image_2": replace(self.image, of="image")}

    def specs(self) -> dict[str, ViewSpec]:
        """Return the named views, in their order."""
        known = self.known()
        return {name: known[name] for name in self.views}


@dataclass(frozen=True, kw_only=True)
class TwoViewSettings(NamedViewSettings):
    """Two views, how they are cut, their encoders and their heads; what is not named is not used.

    Film and sound, film or still and caption, sound and caption, two clips of a recording, or two crops of a picture.
    """

    views: tuple[ViewName, ViewName] = ("video", "audio")  # the two that are compared


def encoder_of(settings: Any, view: ViewSpec) -> Encoder:
    """Build the encoder of a view, by the name that the settings have for its kind (`video_encoder`, ...)."""
    return build_for(view, getattr(settings, f"{view.stream}_encoder"))


def encoders_of(settings: Any, views: Mapping[str, ViewSpec]) -> nn.ModuleDict:
    """Build the encoders of views, view -> network; a second look shares that of the first."""
    built: dict[str, Encoder] = {}
    for name, view in views.items():
        if _owner(name) not in built:
            built[_owner(name)] = encoder_of(settings, view)
    return nn.ModuleDict({name: built[_owner(name)] for name in views})


def heads_of(settings: Any, encoders: nn.ModuleDict, batchnorm: bool = False) -> nn.ModuleDict:
    """Build heads of the settings' `hidden` layers to their `embedding`, view -> head; shared where encoders are."""
    built: dict[str, Head] = {}
    for name, encoder in encoders.items():
        if _owner(name) not in built:
            built[_owner(name)] = _head(settings, encoder, batchnorm)
    return nn.ModuleDict({name: built[_owner(name)] for name in encoders})


def towers_of(
    settings: Any,
    views: Mapping[str, ViewSpec],
    batchnorm: bool = False,
    make: Callable[[Any, ViewSpec], nn.Module] = encoder_of,
) -> tuple[nn.ModuleDict, nn.ModuleDict]:
    """Build encoders (by `make`) and heads as `encoders_of` and `heads_of`, weights drawn view by view."""
    built: dict[str, tuple[nn.Module, Head]] = {}
    for name, view in views.items():
        if _owner(name) not in built:
            encoder = make(settings, view)
            built[_owner(name)] = encoder, _head(settings, encoder, batchnorm)
    encoders, heads = ({name: built[_owner(name)][part] for name in views} for part in (0, 1))
    return nn.ModuleDict(encoders), nn.ModuleDict(heads)


def dim_of(network: nn.Module) -> int:
    """Return the length of what an encoder or a head yields."""
    return int(getattr(network, "dim"))  # noqa: B009


def with_later(stored: Mapping[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """Return weights with those of the later clip, which stood under "video" alone in what was written before."""
    found = dict(stored)
    for name in stored:
        if name.startswith(f"{prefix}video."):
            found.setdefault(name.replace(f"{prefix}video.", f"{prefix}{LATER}.", 1), stored[name])
    return found


class NamedViews(Method, base=True):
    """An encoder and a head for each of the named views; two looks at one recording share one of each."""

    settings: Any
    least_batch = 2

    def projected(self, views: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return view -> projected embeddings of model views (N, ...), which may differ in N.

        Views that share their networks go through them together: normalisation statistics are those of all of them.
        """
        found: dict[str, Tensor] = {}
        for name in views:
            if name not in found:
                shared = [other for other in views if self.encoders[other] is self.encoders[name]]
                joined = torch.cat([views[other] for other in shared]) if len(shared) > 1 else views[name]
                z = self.projectors[name](self.encoders[name](joined))
                found |= zip(shared, z.split([len(views[other]) for other in shared]), strict=True)
        return {name: found[name] for name in views}

    def under_todays_names(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Method.under_todays_names`."""
        if LATER not in self.views:
            return dict(stored)
        return with_later(with_later(stored, "encoders."), "projectors.")

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        state_dict.update(self.under_todays_names(state_dict) if not prefix else {})
        super()._load_from_state_dict(state_dict, prefix, *rest)


class TwoViews(NamedViews, base=True):
    """An encoder and a head for each of two views."""

    settings: TwoViewSettings

    def embed_both(self, batch: Batch) -> dict[str, Tensor]:
        """Return view -> projected embeddings (N, D) of complete samples, see `projected`."""
        return self.projected({name: batch.views[name] for name in self.views})


def _head(settings: Any, encoder: nn.Module, batchnorm: bool) -> Head:
    return mlp((dim_of(encoder), *settings.hidden, settings.embedding), batchnorm=batchnorm)


def _owner(name: str) -> str:
    return AGAIN.get(name, name)

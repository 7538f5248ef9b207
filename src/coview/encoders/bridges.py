"""Networks of other libraries as encoders, by the libraries' own names: "torchvision:convnext_tiny", "timm:resnet50".

Weights are fresh and nothing is fetched (`pretrained` brings trained ones); the classifier is left out, and what it was
given are the features. A name is looked up in the library's own list: nothing else can be reached through it.
"""

from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
import torchvision.models
import torchvision.models.video
from torch import Tensor, nn

from coview.encoders.base import Wrapped, take_channels
from coview.errors import UsageError

Scale = tuple[tuple[float, ...], tuple[float, ...]]  # mean and deviation of each channel, of values in 0 to 1
_NEAREST = 5  # names in a message
_TRIED = 2**23  # numbers of a view, up to which a network is run once when it is built; more would cost memory


class Found(NamedTuple):
    """A network without its classifier, the length of its features, and how its library scales what it is shown."""

    network: nn.Module
    dim: int
    scale: Scale


class Bridged(Wrapped):
    """A library's network (B, C, ...) -> (B, dim), which is shown what its library would show it.

    Args:
        seen: how the view is scaled; None where every picture is by its own numbers, or where it is no colour picture:
            the network then gets the view as it is.
    """

    def __init__(self, found: Found, seen: Scale | None) -> None:
        super().__init__(found.network, found.dim)
        (mean, std), (own_mean, own_std) = (map(torch.tensor, scale) for scale in (seen or found.scale, found.scale))
        # x std + mean is in 0 to 1; (that - own_mean) / own_std is what the library shows.
        self.register_buffer("gain", std / own_std, persistent=False)
        self.register_buffer("offset", (mean - own_mean) / own_std, persistent=False)
        self.rescales = seen is not None and seen != found.scale

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the features alone (B, dim)."""
        if self.rescales:
            ones = (1,) * (x.ndim - 2)
            gain, offset = (self.get_buffer(name).view(-1, *ones) for name in ("gain", "offset"))
            x = x * gain + offset
        return super().feature_maps(x)


def bridged(library: str, name: str, stream: str, shape: tuple[int, ...], seen: Scale | None) -> Bridged:
    """Return a library's network for views of a kind ("image", "audio", "video") and shape (C, ..., H, W).

    A sound's spectrogram is a picture of one channel.

    Raises:
        UsageError: there is no such library or network (lists the nearest names), the extra is missing, or the network
            cannot be built for such a view.
    """
    if library == "python":
        raise UsageError(
            f"{library}:{name} was a network of somebody's own code, and no file may name code here: build it in Python"
            " and give it to coview.frozen"
        )
    if library not in LIBRARIES:
        raise UsageError(f"unknown library of encoders {library!r}; there are {', '.join(LIBRARIES)}")
    if stream not in ("image", "audio", "video"):
        raise UsageError(f"{library}:{name} is an encoder of pictures, sounds or clips, not of {stream}")
    try:
        home = torch.get_default_device()
        with torch.device("cpu"):  # some libraries count layers with tensors, which have no numbers on "meta"
            made = Bridged(LIBRARIES[library](name, stream, shape), seen if shape[0] == 3 else None)
            if home.type != "meta" and math.prod(shape) <= _TRIED:  # what has a fixed size may be built for any
                with torch.no_grad():
                    made.eval()(torch.zeros(1, *shape))
        return made.train().to(home)
    except (AssertionError, TypeError, ValueError, RuntimeError) as error:
        size = " x ".join(map(str, shape))
        raise UsageError(f"{library}:{name} cannot be built for a view of {size} ({error})") from error


def from_torchvision(name: str, stream: str, shape: tuple[int, ...]) -> Found:
    """Return a network of `torchvision.models`, or for clips of `torchvision.models.video`."""
    module = torchvision.models.video if stream == "video" else torchvision.models
    check_name(f"torchvision:{name}", stream, name, torchvision.models.list_models(module=module))
    options: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):  # without further classifiers half-way up
        options = {"aux_logits": False, "init_weights": True}
    elif name.startswith("vit_"):  # places are learnt for one size
        if shape[-1] != shape[-2]:
            raise ValueError("it takes squares")
        options = {"image_size": shape[-1]}
    net = torchvision.models.get_model(name, weights=None, **options)
    if shape[0] != 3:
        take_channels(net, shape[0] - 3)
    shown = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    return Found(net, _behead(net), (tuple(shown.mean), tuple(shown.std)))


def from_timm(name: str, stream: str, shape: tuple[int, ...]) -> Found:
    """Return a network of timm; raises UsageError where its extra is missing."""
    check_name(f"timm:{name}", stream, name, [] if stream == "video" else timm_names(name))
    timm: Any = importlib.import_module("timm")
    about = timm.get_pretrained_cfg(name)
    sized = {"img_size": tuple(shape[-2:])} if about.fixed_input_size else {}
    net = timm.create_model(name, pretrained=False, num_classes=0, in_chans=shape[0], **sized)
    return Found(net, getattr(net, "head_hidden_size", net.num_features), (tuple(about.mean), tuple(about.std)))


def timm_names(asked: str = "NAME") -> list[str]:
    """Return the names of timm's networks, and of its weights; raises UsageError where the extra is missing."""
    try:
        timm: Any = importlib.import_module("timm")
    except ImportError as error:
        raise UsageError(f'timm:{asked} needs the extra: pip install "coview[timm]"') from error
    return [*timm.list_models(), *timm.list_pretrained()]


LIBRARIES: dict[str, Callable[[str, str, tuple[int, ...]], Found]] = {
    "torchvision": from_torchvision,
    "timm": from_timm,
}


def check_name(asked: str, stream: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that is not among the library's own; lists the nearest."""
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=_NEAREST, cutoff=0.4)
        hint = f"; the nearest names are {', '.join(near)}" if near else f"; there are {len(names)} names for {stream}"
        raise UsageError(f"unknown {stream} encoder {asked!r}{hint}")


def _behead(net: nn.Module) -> int:
    """Take the last layer with weights, the classifier, out of a network; return how many features it was given."""
    kinds = (nn.Linear, nn.Conv2d, nn.Conv3d)
    name, last = [(name, module) for name, module in net.named_modules() if isinstance(module, kinds)][-1]
    parent, _, own = name.rpartition(".")
    setattr(net.get_submodule(parent), own, nn.Identity())
    return last.in_features if isinstance(last, nn.Linear) else last.in_channels

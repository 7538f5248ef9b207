"""Trained encoders of torchvision, timm and transformers as a model, each behind its own library's preprocessing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from coview.data.augment import AugmentSettings
from coview.data.preprocess import Preprocess
from coview.data.views import AudioView, ImageView, TextView, VideoView, ViewSpec
from coview.encoders.base import Encoder, Wrapped, evaluating
from coview.encoders.bridges import Bridged
from coview.encoders.hugging import Tower, load_towers
from coview.encoders.hugging_words import TextTower
from coview.encoders.pretrained import Looks, find_weights, looks_of, take_weights
from coview.errors import UsageError
from coview.methods import FROZEN, build
from coview.methods.contract import Facts, Method
from coview.methods.frozen import Frozen, FrozenSettings
from coview.model import Model


def frozen_model(names: Sequence[str], weights: Sequence[Path] = (), download: bool = False) -> Model:
    """Return a model of trained encoders, one for each kind of view; its views are called like their kinds.

    A network of two towers in one space, such as CLIP, gives two views: pictures or sounds, and words.

    Args:
        names: "torchvision:NAME", "timm:NAME", and "hf:FOLDER" or "hf:OWNER/NAME" (transformers).
        weights: a file for each of torchvision's and timm's, in their order; none: what the libraries have kept.
        download: fetch what is not there. Otherwise nothing is fetched.

    Raises:
        UsageError: an unknown name (lists the nearest), weights that are not there (says where was looked and what to
            fetch by hand) or do not fit, two encoders of one kind of view, or an extra that is missing.
    """
    files = iter(_paired(names, weights))
    towers: dict[str, Tower | TextTower] = {}
    views: dict[str, ViewSpec] = {}
    encoders: dict[str, str] = {}
    paths: dict[str, Path] = {}
    described: dict[str, dict[str, Any]] = {}
    for name in names:
        library, _, own = name.partition(":")
        if library == "hf":
            loaded = load_towers(own, download)
            all_looks = [tower.looks for tower, _ in loaded]
        else:
            loaded, all_looks = [], [looks_of(library, own)]
        for looks in all_looks:
            if looks.stream in encoders:
                raise UsageError(f"{encoders[looks.stream]} and {name} are both encoders of {looks.stream}; name one")
            views[looks.stream], encoders[looks.stream] = _view(looks), name
        if not loaded:
            paths[all_looks[0].stream] = next(files) or find_weights(library, own, download)
        for tower, about in loaded:
            towers[tower.looks.stream], described[tower.looks.stream] = tower, about
    settings = FrozenSettings(views=views, encoders=encoders, described=described)
    method = build(FROZEN, settings, Facts(rows=2, training=False))
    for stream, path in paths.items():
        take_weights(cast(Bridged, method.encoders[stream]), path, encoders[stream])
    for stream, tower in towers.items():
        method.encoders[stream].load_state_dict(tower.state_dict())
    return _model(method)


def model_of_networks(networks: Mapping[str, tuple[ViewSpec, nn.Module]]) -> Model:
    """Return a model of networks of one's own code, each with the view that it reads, by the view's name.

    A network is a `coview.Encoder`, or any module that makes of views (B, *view.shape) features (B, D), or maps
    (B, D, ...) that are averaged; it is used in evaluation mode, and must take a batch of no rows too. One that two
    views share (the same object) is one encoder. The model embeds, searches and measures; kept in a folder it can be
    read by nothing, for no file may name code.

    Raises:
        UsageError: there is no network, or one does not make features of its view.
    """
    if not networks:
        raise UsageError("expected a network for each view: {'image': (view, network)}")
    known: dict[int, Encoder] = {}
    for name, (view, network) in networks.items():
        known.setdefault(id(network), _encoder(name, view, network))
    own = {name: known[id(network)] for name, (_, network) in networks.items()}
    number = {one: count for count, one in enumerate(known, start=1)}
    called = {name: f"python:{type(net).__name__}-{number[id(net)]}" for name, (_, net) in networks.items()}
    settings = FrozenSettings(views={name: view for name, (view, _) in networks.items()}, encoders=called)
    return _model(Frozen(settings, Facts(rows=2, training=False), own))


def _encoder(name: str, view: ViewSpec, network: nn.Module) -> Encoder:
    """Return a network as an encoder, tried on made-up views."""
    try:
        with torch.no_grad(), evaluating(network):
            device = next((value.device for value in network.parameters()), torch.device("cpu"))
            made = network(view.made_up(torch.arange(2), 0).to(device))
        shape = tuple(made.shape) if isinstance(made, Tensor) else ()
        if len(shape) < 2 or shape[0] != 2:
            raise ValueError(f"of two views it makes {shape or type(made).__name__}, expected (2, D) or (2, D, ...)")
    except Exception as error:  # a stranger's network raises anything
        size = " x ".join(map(str, view.shape))
        raise UsageError(f"{name}: {type(network).__name__} makes no features of views of {size} ({error})") from error
    return network if isinstance(network, Encoder) else Wrapped(network, shape[1])


def _model(method: Method) -> Model:
    about = {"collection": {"name": "(trained elsewhere)", "fingerprint": "", "rows": 2}, "classes": []}
    return Model(method, Preprocess(method.views, AugmentSettings()), about)


def _paired(names: Sequence[str], weights: Sequence[Path]) -> list[Path | None]:
    """Return a file, or None, for each name that is not of transformers, whose folders hold their weights."""
    wrong = [name for name in names if name.partition(":")[0] not in ("torchvision", "timm", "hf")]
    if wrong or not names:
        raise UsageError(f"{', '.join(wrong) or 'no name'}: expected torchvision:NAME, timm:NAME or hf:FOLDER")
    needed = sum(not name.startswith("hf:") for name in names)
    if weights and len(weights) != needed:
        raise UsageError(f"--weights: {len(weights)} files for {needed} encoders of torchvision and timm")
    return list(weights) or [None] * needed


def _view(looks: Looks) -> ViewSpec:
    """Return the view that is cut as a library cuts it; scaling and spectrograms are the encoder's own."""
    if looks.stream == "text":
        return TextView(length=looks.letters, tokens="letters")
    if looks.stream == "audio":
        return AudioView(seconds=looks.seconds, sample_rate=looks.rate, layout="waveform")
    margin = max(1.0, looks.resized / looks.size)
    if looks.stream == "video":
        return VideoView(frames=looks.frames, fps=looks.fps, size=looks.size, margin=margin, normalise="none")
    return ImageView(size=looks.size, margin=margin, normalise="none")

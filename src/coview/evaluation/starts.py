"""What training on another task starts from: a model's encoder, whole or in part, rescaled if asked; a new layer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from coview.data.augment import AugmentSettings
from coview.data.preprocess import Preprocess
from coview.data.source import Source
from coview.data.views import ViewSpec
from coview.embedding.extract import read_windows
from coview.encoders import Encoder
from coview.encoders.composed import Beside, UpTo, stages_from
from coview.encoders.rescaling import absorb_batchnorm, balance
from coview.errors import UsageError
from coview.methods.classifier import besides
from coview.methods.contract import Method
from coview.randomness import make_key, normal, uniform

if TYPE_CHECKING:
    from coview.model import Model

_HEAD, _PICTURES = 0x68656164, 0x62616C61  # streams
_BALANCED_ON = 64  # training recordings
BIAS = 0.1  # of a new layer that is drawn by hand


def start_from(
    method: Method,
    model: Model,
    train: Source,
    *,
    view: str,
    seed: int,
    reinit_from: str | None = None,
    rescale: bool = False,
    head_scale: float | None = None,
) -> None:
    """Give a classifier the weights of a model's encoder of a view; in place.

    Args:
        method: of the method "classifier", with weights newly drawn.
        model: stays as it is.
        train: recordings, whose labels play no part, on which layers are balanced.
        seed: draws the linear layer, and what layers are balanced by.
        reinit_from: first stage that keeps its new weights; None: none does.
        rescale: absorb batch normalisation, and balance the layers.
        head_scale: deviation of the linear layer's weights; None: as they are.

    Raises:
        UsageError: the encoder has no such stage, or cannot be rescaled.
    """
    own = trunk(method.encoders[view])
    given = rescaled(model, train, view, seed) if rescale else model.method.encoders[view]
    state = given.state_dict()
    if reinit_from is not None:
        new = stages_from(own, reinit_from)
        state = {name: value for name, value in state.items() if name.partition(".")[0] not in new}
    own.load_state_dict(own.state_dict() | state)
    known = besides(model.method, view)
    for name, part in method.makers.items():
        part.load_state_dict(known[name].state_dict())
    if head_scale is not None:
        draw_head(method.projectors[view], head_scale, seed)


def statistics_of(model: Model, views: Mapping[str, ViewSpec]) -> Preprocess:
    """Return the preprocessing of views, without variation, with the statistics that the model has for them."""
    own = Preprocess(views, AugmentSettings())
    state = model.preprocess.state_dict()
    own.load_state_dict({name: state[name] for name in own.state_dict()})
    return own


def trunk(encoder: nn.Module) -> nn.Module:
    """Return the part of a classifier's encoder that has a model's weights."""
    if isinstance(encoder, Beside):
        encoder = encoder.given
    return encoder.whole if isinstance(encoder, UpTo) else encoder


@torch.no_grad()
def draw_head(head: nn.Module, scale: float, seed: int) -> None:
    """Draw a linear layer's weights, normal of deviation `scale`, those of each feature whatever other features there
    are; biases 0.1, as Krähenbühl et al. (ICLR 2016, arXiv 1511.06856) do.
    """
    layer = cast(nn.Linear, head)
    features = torch.arange(layer.in_features)
    layer.weight.copy_(scale * normal(make_key(seed, features), _HEAD, layer.out_features).T)
    layer.bias.fill_(BIAS)


def rescaled(model: Model, source: Source, view: str, seed: int) -> Encoder:
    """Return a model's encoder with batch normalisation absorbed and its layers balanced on some recordings.

    Raises:
        UsageError: its layers are no chain that lets a factor through.
    """
    encoder = copy.deepcopy(cast(Encoder, model.method.encoders[view])).eval()
    absorb_batchnorm(encoder)
    stages = stages_from(encoder, encoder.stages[0])
    if strange := [name for name, _ in encoder.named_children() if name not in stages]:
        raise UsageError(f"{type(encoder).__name__} cannot be rescaled: {', '.join(strange)} is no stage of a chain")
    balance(nn.Sequential(*map(encoder.get_submodule, stages)), _pictures(model, source, view, seed), seed=seed)
    return encoder


def _pictures(model: Model, source: Source, view: str, seed: int) -> Tensor:
    """Return model views of recordings drawn by the seed, as the encoder sees them."""
    order = torch.argsort(uniform(make_key(seed, torch.arange(len(source))), _PICTURES), stable=True)[:_BALANCED_ON]
    found = []
    for raw in read_windows(source, order.sort().values, 1, _BALANCED_ON):
        batch = model.prepared(raw)
        found.append(batch.views[view][batch.present[view]])
    pictures = torch.cat(found)
    if not len(pictures):
        raise UsageError(f"{source.name}: none of {len(order)} recordings has {view!r}; nothing to rescale on")
    return pictures

"""Where in a picture the sound comes from: maps of similarity, and how often they point at the right place.

The map of a picture and a sound is, at every place of the picture encoder's last feature map, the cosine between the
sound's embedding and what the encoder's pooling and the head make of that place alone. A method that has maps of its
own (attention) offers them as `sound_maps(views)`.

Pointing: two recordings of different labels stand side by side in one frame and the sound of one is heard; the map
points at the half where it is highest. Chance is one half, and a network that ignores the sound stays there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from coview.data.order import permute
from coview.data.source import Source
from coview.data.views import AudioView, Batch, VideoView
from coview.encoders import Encoder
from coview.errors import UsageError
from coview.evaluation.statistics import Measurement, accuracy

if TYPE_CHECKING:
    from coview.model import Model


def picture_and_sound(model: Model) -> tuple[str, str]:
    """Return the names of the model's picture view and sound view; raises UsageError where it lacks one."""
    found: dict[type[Any], str] = {}
    for name in reversed(model.distinct_views()):
        spec = model.views.get(name)  # none of what is made of several views
        found |= {kind: name for kind in (VideoView, AudioView) if isinstance(spec, kind)}
    if VideoView in found and not hasattr(model.method.encoders[found[VideoView]], "feature_maps"):
        raise UsageError("maps need an encoder of pictures that has them; this model's ends in one vector")
    if len(found) < 2:
        raise UsageError(f"maps need a model of pictures and sounds; this one has {', '.join(model.views)}")
    return found[VideoView], found[AudioView]


@torch.no_grad()
def sound_maps(model: Model, views: Mapping[str, Tensor]) -> Tensor:
    """Return the maps (B, T', H', W'), float32 on the CPU, of model views (see `Model.inputs`).

    Raises:
        UsageError: picture and sound of this model have no common space.
    """
    picture, sound = picture_and_sound(model)
    own = getattr(model.method, "sound_maps", None)
    with model.evaluating():
        if own is not None:
            return cast(Tensor, own(views)).float().cpu()
        encoder = cast(Encoder, model.method.encoders[picture])
        maps = encoder.feature_maps(views[picture])[encoder.stages[-1]]
        places = encoder.pool(maps.movedim(1, -1).flatten(0, -2)[:, :, None, None, None])
        z = model.head(picture)(places)
        heard = model.head(sound)(model.method.encoders[sound](views[sound]))
    if heard.shape[1] != z.shape[1]:
        raise UsageError(f"{model.method.about.slug} has no common space of picture and sound, hence no maps")
    similarity = cosine_similarity(z.view(len(heard), -1, z.shape[1]), heard[:, None], dim=2)
    return similarity.view(len(heard), *maps.shape[2:]).float().cpu()


def pointing(model: Model, source: Source, *, name: str, limit: int = 1000, batch_size: int = 50) -> Measurement:
    """Return how often the map is highest in the half whose sound is heard, over at most `limit` recordings.

    Raises:
        UsageError: the model has no maps, or the source has no labels that tell two recordings apart.
    """
    picture, sound = picture_and_sound(model)
    correct = []
    for number, pairs in enumerate(torch.split(unlike_pairs(source, limit), batch_size)):
        own, other = (source.read_window(pairs[:, side].contiguous(), 0, 1) for side in (0, 1))
        right = (torch.arange(len(pairs)) + number * batch_size) % 2 == 1
        maps = sound_maps(model, side_by_side(model, own, other, right)).mean(1)
        half = maps.shape[2] // 2
        points_right = maps[:, :, -half:].amax((1, 2)) > maps[:, :, :half].amax((1, 2))
        there = own.present[picture] & own.present[sound] & other.present[picture]
        finite = maps.flatten(1).isfinite().all(1)  # a map of NaN points nowhere
        correct.append(((points_right == right) & finite)[there])
    return accuracy(f"pointing/{name}", torch.cat(correct), 0.5)


def side_by_side(model: Model, own: Batch, other: Batch, right: Tensor) -> dict[str, Tensor]:
    """Return model views of raw batches: the sound of `own`, and both pictures, its own on the right where `right`."""
    picture, _ = picture_and_sound(model)
    views = model.inputs(own)
    mine, foreign = views[picture], model.inputs(other)[picture]
    swap = right.to(mine.device).view(-1, 1, 1, 1, 1)
    joined = torch.cat([torch.where(swap, foreign, mine), torch.where(swap, mine, foreign)], dim=-1)
    return {**views, picture: joined}


def unlike_pairs(source: Source, limit: int) -> Tensor:
    """Return int64 (N, 2): recordings with a label, each beside one of another label."""
    rows = torch.nonzero(source.labels >= 0).flatten()[:limit]
    if rows.numel() < 2 or len(source.classes) < 2:
        raise UsageError(f"{source.name}: pointing needs recordings of two labels")
    mixed = rows[permute(torch.arange(rows.numel()), rows.numel(), 0, 0)]
    partner = mixed.roll(1)
    unlike = source.labels[mixed] != source.labels[partner]
    if not bool(unlike.any()):
        raise UsageError(f"{source.name}: pointing needs recordings of two labels")
    return torch.stack([mixed, partner], 1)[unlike]

"""Views: what is cut from a recording, and exactly how; and the batch that carries the cuts.

All views of one sample are cut by SECONDS on one clock. A loader's batch holds raw views (uint8 frames, waveforms);
`coview.data.augment` turns them, on the training device, into the model views that a method sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coview.data.views.batch import Batch
from coview.data.views.depth import DepthView
from coview.data.views.features import FeaturesView
from coview.data.views.flow import FlowView
from coview.data.views.image import ImageView
from coview.data.views.kinds import register_view
from coview.data.views.picture import PictureView, VideoView
from coview.data.views.series import SeriesView
from coview.data.views.sound import AudioView
from coview.data.views.spec import ViewSpec
from coview.data.views.text import TextView
from coview.data.views.texture import TextureView
from coview.errors import UsageError
from coview.settings import from_dict

__all__ = [
    "AudioView",
    "Batch",
    "DepthView",
    "FeaturesView",
    "FlowView",
    "ImageView",
    "PictureView",
    "SeriesView",
    "TextView",
    "TextureView",
    "VideoView",
    "ViewSpec",
    "check_views",
    "cut_from",
    "made_of",
    "raw_views",
    "read_view",
    "register_view",
]


def read_view(fields: Mapping[str, Any]) -> ViewSpec:
    """Return the view that `coview.settings.to_dict` made into plain data; raises SettingsError where it is none."""
    return from_dict(ViewSpec, fields)  # type: ignore[type-abstract]


def cut_from(name: str, view: ViewSpec) -> str:
    """Return the name of the raw view that a view is made of: its own, or that of the view it is cut with."""
    return view.of or (None if view.track else view.with_) or name


def made_of(name: str, view: ViewSpec, batch: Batch) -> str:
    """Return the name of the raw view that a view is made of in a batch: of its own crop where that was cut, or as
    `cut_from` says.
    """
    own = (None if view.track else view.with_) or name
    return own if own in batch.views else cut_from(name, view)


def raw_views(views: Mapping[str, ViewSpec]) -> dict[str, ViewSpec]:
    """Return the views that a source has to cut: crops of another view are made from its raw frames.

    Raises:
        UsageError: see `check_views`.
    """
    check_views(views)
    return {name: view for name, view in views.items() if cut_from(name, view) == name}


def check_views(views: Mapping[str, ViewSpec]) -> None:
    """Check that views which depend on another name one that can carry them.

    Raises:
        UsageError: the other one is not there, depends on a third, or is of another size.
    """
    for name, view in views.items():
        if view.of and (cut_from(view.of, views[view.of]) if view.of in views else view.of) != view.of:
            raise UsageError(f"view {name!r} is a crop of {view.of!r}, which is a crop itself; name the first of them")
        other = views.get(view.with_ or name)
        if other is None or other.with_:
            if view.with_:
                raise UsageError(f"view {name!r} is aligned with {view.with_!r}, which is not there or aligned itself")
            continue
        if (view.square and other.square != view.square) or other.seconds != view.seconds:
            raise UsageError(
                f"view {name!r} is aligned with {view.with_!r}, but is not of its size and length: {view}; {other}"
            )

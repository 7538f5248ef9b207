"""Views: what is cut from a recording, and exactly how; and the batch that carries the cuts.

All views of one sample are cut by SECONDS on one clock. A loader's batch holds raw views (uint8 frames, waveforms);
`coview.data.augment` turns them, on the training device, into the model views that a method sees.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from coview.data.views.batch import Batch
from coview.data.views.features import FeaturesView
from coview.data.views.picture import ImageView, VideoView
from coview.data.views.sound import AudioView
from coview.data.views.text import TextView
from coview.errors import SettingsError
from coview.settings import from_dict

__all__ = [
    "AudioView",
    "Batch",
    "FeaturesView",
    "ImageView",
    "TextView",
    "VideoView",
    "ViewSpec",
    "cut_from",
    "raw_views",
    "read_view",
]

ViewSpec = VideoView | AudioView | TextView | FeaturesView
_KINDS: dict[str, type[Any]] = {
    "video": VideoView,
    "image": ImageView,
    "audio": AudioView,
    "text": TextView,
    "features": FeaturesView,
}


def read_view(fields: Mapping[str, Any]) -> ViewSpec:
    """Return the view that `coview.settings.to_dict` made into plain data; raises SettingsError where it is none."""
    stream = str(fields.get("stream"))
    if stream not in _KINDS:
        raise SettingsError([f"stream: expected one of {', '.join(_KINDS)}, found {stream!r}"])
    return cast(ViewSpec, from_dict(_KINDS[stream], fields))


def cut_from(name: str, view: ViewSpec) -> str:
    """Return the name of the raw view that a view is made of: its own, or that of the view it is a crop of."""
    return view.of if isinstance(view, VideoView) and view.of else name


def raw_views(views: Mapping[str, ViewSpec]) -> dict[str, ViewSpec]:
    """Return the views that a source has to cut: crops of another view are made from its raw frames."""
    return {name: view for name, view in views.items() if cut_from(name, view) == name}

"""What the methods of the correlation family share: their views and networks, the refusal of small batches, the end.

Any views will do, raw ones or features that were computed before, two or more. When the networks are trained, a linear
canonical correlation analysis of their outputs over the whole collection becomes the map into the common space; it is
the `projectors`' buffers, so that it is saved, loaded and compared like any weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from coview.correlation.cca import CCA
from coview.correlation.moments import Moments
from coview.correlation.multiset import MCCA
from coview.data.augment import PRESETS
from coview.data.views import AudioView, Batch, FeaturesView, VideoView, ViewSpec
from coview.encoders import build_for
from coview.encoders.features import Activation, FeatureDecoder, FeatureEncoder, FittedMap, Narrowed
from coview.errors import UsageError
from coview.methods.contract import Coupling, Facts, Method
from coview.methods.parts.batch import complete
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.parallel import row_counts


@dataclass(frozen=True, kw_only=True)
class FusionSettings:
    """Views and networks of the correlation family."""

    any_features: ClassVar[bool] = True  # its views are whatever vectors there are: `coview fuse` offers it

    views: dict[str, ViewSpec] = field(default_factory=lambda: {"video": VideoView(), "audio": AudioView()})
    video_encoder: str = "r2plus1d-18"  # of raw views, with a linear layer behind; "mlp": `hidden` on all numbers
    image_encoder: str = "mlp"  # of raw pictures
    audio_encoder: str = "conv2d"  # of raw sounds
    text_encoder: str = "text-characters"  # of captions
    hidden: tuple[int, ...] = (1024, 1024, 1024)  # of the networks of features, and of decoders the other way round
    activation: Activation = "relu"  # the paper's is sigmoid
    dimension: int = 10  # L, outputs of each network

    def __post_init__(self) -> None:
        if len(self.views) < 2:
            raise ValueError(f"views: two or more are needed, found {', '.join(self.views) or 'none'}")
        if self.dimension < 1 or any(width < 1 for width in self.hidden):
            raise ValueError("dimension and the widths in hidden must be at least 1")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests and dry runs: two short feature vectors."""
        return cls(views={"left": FeaturesView(dim=12), "right": FeaturesView(dim=9)}, hidden=(16,), dimension=2)

    def specs(self) -> dict[str, ViewSpec]:
        """Return the views."""
        return dict(self.views)


class Fusion(Method, base=True):
    """A network per view, and the linear map into the common space that is fitted behind each at the end.

    Attributes:
        whitens: the loss whitens the outputs of a batch. Its fewest samples are then twice the dimension: in fewer, any
            outputs correlate perfectly.
    """

    settings: Any
    whitens: ClassVar[bool] = True
    coupling: Coupling = "statistics"
    published = Recipe(
        optimiser=OptimiserSettings(kind="sgd", lr=0.01, momentum=0.99, weight_decay=1e-4, decay="matrices"),
        schedule=ScheduleSettings(kind="constant"),
        augment=PRESETS["none"],
        batch_size=800,
        epochs=50,
    )

    def __init__(self, settings: FusionSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.least_batch = 2 * settings.dimension if self.whitens else 2
        self.encoders = nn.ModuleDict(
            {name: build_encoder(settings, spec, settings.dimension) for name, spec in self.views.items()}
        )
        self.projectors = nn.ModuleDict(
            {name: FittedMap(settings.dimension, settings.dimension) for name in self.encoders}
        )

    def usable(self, batch: Batch) -> Batch | None:
        """Return the complete samples, or None where there are none; of too few see `enough_to_correlate`."""
        if not self.whitens:
            return super().usable(batch)
        batch = complete(batch, self.views, self.labelled)
        return batch if enough_to_correlate(batch, self.least_batch) else None

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return view -> what its network yields (N, D)."""
        return {name: encoder(batch.views[name]) for name, encoder in self.encoders.items()}

    def finish(self, embed: Any) -> None:
        """Fit the linear maps into the common space."""
        fit_maps(self, embed, self.settings.ridge)


def build_encoder(
    settings: FusionSettings, spec: ViewSpec, dim: int, hidden: tuple[int, ...] | None = None
) -> FeatureEncoder | Narrowed:
    """Build the network of one view to `dim` numbers, through `hidden` layers (by default the settings')."""
    name = getattr(settings, f"{spec.stream}_encoder", "mlp")
    if name == "mlp":
        return FeatureEncoder(spec.shape, settings.hidden if hidden is None else hidden, dim, settings.activation)
    return Narrowed(build_for(spec, name), dim)


def build_decoder(settings: FusionSettings, spec: ViewSpec, dim: int) -> FeatureDecoder:
    """Build the network from `dim` numbers to one view as the encoder sees it.

    Raises:
        UsageError: the view is made of codes, such as letters, not of numbers.
    """
    if not spec.made_up(torch.zeros(1, dtype=torch.int64), 0).is_floating_point():
        raise UsageError(f"{spec} is letters, not numbers: it can be read, but not reconstructed by a decoder")
    return FeatureDecoder(dim, settings.hidden[::-1], spec.shape, settings.activation)


def enough_to_correlate(batch: Batch, least: int) -> bool:
    """Return whether the processes together hold samples at all; refuse fewer than `least`, twice the dimension.

    Raises:
        UsageError: with so few samples any outputs correlate perfectly, so the loss says nothing.
    """
    rows, dimension = sum(row_counts(batch.row)), least // 2
    if 0 < rows < least:
        raise UsageError(
            f"{rows} complete samples in a batch cannot teach canonical correlations of {dimension} dimensions: even "
            f"noise would correlate (perfectly below {dimension + 1}), so the loss would be near its optimum and mean "
            f"nothing. Use a train.batch_size of at least {least}, better ten times the dimension, or a "
            "smaller method.dimension; accumulated parts and samples without a view do not count"
        )
    return rows > 0


def pairs(outputs: dict[str, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every two of the views' outputs."""
    yield from combinations(outputs.values(), 2)


def fit_maps(method: Method, embed: Any, ridge: float) -> None:
    """Fit linear canonical correlation analysis on the networks' outputs for the whole collection, and keep its maps.

    Args:
        embed: as `Method.finish` gets it.
        ridge: added to the covariances of the outputs.
    """
    features = embed("backbone")
    names = list(method.projectors)
    moments = Moments([features.values[name].shape[1] for name in names])
    moments.update([features.values[name] for name in names], [features.present[name] for name in names])
    components = min(cast(FittedMap, method.projectors[name]).dim for name in names)
    # More than two views: the multi-set form, whose spaces are as comparable.
    kind = CCA if len(names) == 2 else MCCA
    estimator = kind(components, ridge=ridge).fit_moments(moments)
    for name, mean, weight in zip(names, estimator.means_, estimator.weights_, strict=True):
        cast(FittedMap, method.projectors[name]).set(torch.from_numpy(mean), torch.from_numpy(weight))

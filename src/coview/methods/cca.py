"""CCA and its closed-form relatives as a method: two or more sets of stored features into one space, without training.

The maps are found by the estimators of `coview.correlation`, whose docstrings hold the equations and sources:

    cca      two views, ridge r                        gcca, mcca   two views or more
    kernel   two views, an RBF kernel at landmarks     robust       two views, gross errors taken out first
    cluster  two views with labels: over all pairs of a class

`coview fuse` finds them and stops there. As a method it could be trained too: its loss is minus the total correlation
of the maps' outputs, which is what the closed form maximises and replaces in the end. There is no recipe to publish:
the one here says that nothing is augmented.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, cast

import torch
from torch import Tensor, nn

from coview.correlation.cca import CCA
from coview.correlation.cluster import ClusterCCA
from coview.correlation.kernel import bandwidths, kernel_matrix
from coview.correlation.linalg import whitener
from coview.correlation.moments import Moments
from coview.correlation.multiset import GCCA, MCCA
from coview.correlation.robust import RobustCCA
from coview.data.augment import PRESETS
from coview.data.views import Batch, FeaturesView, ViewSpec
from coview.encoders.features import FittedMap, NystroemFeatures, Unchanged
from coview.errors import UsageError
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.batch import complete, detached
from coview.methods.parts.correlation import enough_to_correlate, pairs
from coview.methods.parts.towers import dim_of
from coview.methods.recipe import Recipe
from coview.objectives.total_correlation import total_correlation
from coview.parallel import gather
from coview.randomness import make_key, uniform

_LINEAR = {"cca": CCA, "gcca": GCCA, "mcca": MCCA}
_RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # tried where none is given
_HELD = 5  # every fifth recording is held out to choose among them
_LANDMARKS = 0x6E7973  # stream of the draw of landmarks


@dataclass(frozen=True, kw_only=True)
class CCASettings:
    """Settings of the closed forms."""

    any_features: ClassVar[bool] = True  # see `FusionSettings`

    views: dict[str, FeaturesView] = field(
        default_factory=lambda: {"video": FeaturesView(dim=512), "audio": FeaturesView(dim=512)}
    )
    form: Literal["cca", "gcca", "mcca", "kernel", "robust", "cluster"] = "cca"  # which of the family is solved
    components: int = 32  # directions kept, at most
    ridge: float | None = None  # times a view's mean variance; None: what correlates best on a fifth held out
    missing: Literal["complete", "likelihood"] = "complete"  # cca, gcca, mcca: what rows without a view are used for
    landmarks: int = 512  # kernel: rows drawn
    gamma: float | None = None  # kernel: of exp(-gamma |x - y|^2); None: 1 / (sum of the variances)
    beta: float = 0.2  # cluster: share of pairs against classes

    def __post_init__(self) -> None:
        if len(self.views) < 2 or any(len(view.shape) != 1 for view in self.views.values()):
            raise ValueError("cca needs two or more views, each a vector of features")
        if len(self.views) > 2 and self.form not in ("gcca", "mcca"):
            raise ValueError(f"form {self.form} takes two views, found {len(self.views)}; use gcca or mcca")
        if self.components < 1 or self.landmarks < 2 or (self.ridge is not None and self.ridge <= 0):
            raise ValueError("cca needs components >= 1, landmarks >= 2 and ridge > 0 (null lets it be chosen)")
        widest = min(self.landmarks if self.form == "kernel" else view.dim for view in self.views.values())
        if self.components > widest:
            raise ValueError(f"components is {self.components}, but the narrowest view has {widest} numbers")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests and dry runs: two short feature vectors."""
        return cls(views={"left": FeaturesView(dim=12), "right": FeaturesView(dim=9)}, components=2)

    def specs(self) -> dict[str, ViewSpec]:
        """Return the views."""
        return dict(self.views)


class ClosedFormCCA(Method):
    """Features, through a kernel's features or as they are, and a linear map per view."""

    about = About(
        slug="cca",
        title="Canonical correlation of stored features: linear, multi-set, kernel, robust, by class",
        paper="Hotelling 1936; Kettenring 1971; Bach & Jordan 2002; Rasiwasia et al. 2014; Nicolaou et al. 2014",
        family="correlation",
        state="verified: see the estimators of coview.correlation; robust is a reconstruction",
    )
    Settings: ClassVar[type[CCASettings]] = CCASettings
    closed_form = True
    published = Recipe(augment=PRESETS["none"], batch_size=1024, epochs=1)
    settings: CCASettings
    coupling: Coupling = "statistics"

    def __init__(self, settings: CCASettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.least_batch = 2 * settings.components
        kernel = settings.form == "kernel"
        self.encoders = nn.ModuleDict(
            {
                name: NystroemFeatures(spec.dim, settings.landmarks) if kernel else Unchanged(spec.dim)
                for name, spec in settings.views.items()
            }
        )
        self.projectors = nn.ModuleDict(
            {name: FittedMap(dim_of(net), settings.components, learnt=True) for name, net in self.encoders.items()}
        )

    def learn(self, batch: Batch) -> Step:
        """Return minus the total correlation of the maps' outputs; part: correlation, per pair of views."""
        outputs = {name: self.projectors[name](self.encoders[name](batch.views[name])) for name in self.views}
        correlations = torch.stack([total_correlation(x, y, (1e-4, 1e-4)) for x, y in pairs(outputs)])
        return Step(-correlations.sum(), {"correlation": correlations.mean().detach()}, detached(outputs))

    def usable(self, batch: Batch) -> Batch | None:
        """Return the complete samples, or None where there are none; of too few, see `enough_to_correlate`."""
        batch = complete(batch, self.views)
        return batch if enough_to_correlate(batch, self.least_batch) else None

    def fit_targets(self, samples: Iterator[Batch]) -> None:
        """Draw the landmarks of the kernel from the first epoch's samples that have both views."""
        if self.settings.form != "kernel":
            return
        chosen = [complete(batch, self.views) for batch in samples]
        rows = torch.cat([gather(batch.row) for batch in chosen])
        drawn = uniform(make_key(rows), _LANDMARKS).argsort(stable=True)[: self.settings.landmarks]
        for name in self.views:
            values = torch.cat([gather(batch.views[name]) for batch in chosen])[drawn].double().cpu()
            gamma = bandwidths(self.settings.gamma, [values])[0]
            root = whitener(kernel_matrix(values, values, gamma))
            cast(NystroemFeatures, self.encoders[name]).set(values, root, gamma)

    def finish(self, embed: Any) -> None:
        """Find the maps on the whole collection."""
        features = embed("backbone")
        names = list(self.projectors)
        values, present = ([part[name].cpu() for name in names] for part in (features.values, features.present))
        if self.settings.form in ("robust", "cluster"):
            estimator = self._by_rows(values, torch.stack(present).all(0), features.labels)
        else:
            estimator = self._by_moments(values, present)
        for name, mean, weight in zip(names, estimator.means_, estimator.weights_, strict=True):
            cast(FittedMap, self.projectors[name]).set(torch.from_numpy(mean), torch.from_numpy(weight))

    def _by_rows(self, values: list[Tensor], both: Tensor, labels: Tensor) -> Any:
        scale = [float(view[both].double().var(0).mean()) for view in values]
        ridge = 1e-3 if self.settings.ridge is None else self.settings.ridge
        if self.settings.form == "robust":  # which scales the columns itself
            return RobustCCA(self.settings.components, ridge=ridge).fit([view[both] for view in values])
        both = both & (labels >= 0)
        if not bool(both.any()):
            raise UsageError("form cluster learns from labels, and these recordings have none")
        kind = ClusterCCA(self.settings.components, beta=self.settings.beta, ridge=[ridge * each for each in scale])
        return kind.fit([view[both] for view in values], labels[both])

    def _by_moments(self, values: list[Tensor], present: list[Tensor]) -> Any:
        held = torch.arange(len(values[0])) % _HELD == 0
        fitted, tested = (Moments([view.shape[1] for view in values]) for _ in "ab")
        for moments, rows in ((fitted, ~held), (tested, held)):
            moments.update([view[rows] for view in values], [mask[rows] for mask in present])
        both = Moments(fitted.dims)
        both.merge(fitted)
        both.merge(tested)
        scale = [float(both.covariance()[columns, columns].diagonal().mean()) for columns in both.slices]
        ridge = self.settings.ridge
        if ridge is None:
            ridge = max(_RIDGES, key=lambda r: _correlation(self._estimator(r, scale).fit_moments(fitted), tested))
        return self._estimator(ridge, scale).fit_moments(both)

    def _estimator(self, ridge: float, scale: Sequence[float]) -> Any:
        kind = _LINEAR["cca" if self.settings.form == "kernel" else self.settings.form]
        return kind(self.settings.components, ridge=[ridge * each for each in scale], missing=self.settings.missing)


@dataclass(frozen=True, kw_only=True)
class RobustCCASettings(CCASettings):
    """Settings of robust CCA."""

    form: Literal["robust"] = "robust"  # always robust


class ClosedFormRobustCCA(ClosedFormCCA):
    """CCA after gross errors are taken out of both views."""

    about = About(
        slug="robust-cca",
        title="Robust CCA: joint low-rank and sparse parts, then CCA",
        paper="Nicolaou, Panagakis, Zafeiriou & Pantic, Robust canonical correlation analysis, ICASSP 2014",
        family="correlation",
        state="reconstruction: form B of coview.correlation.robust, verified by independent values; no code exists",
    )
    Settings = RobustCCASettings


@dataclass(frozen=True, kw_only=True)
class ClusterCCASettings(CCASettings):
    """Settings of cluster-CCA."""

    form: Literal["cluster"] = "cluster"  # always by class


class ClosedFormClusterCCA(ClosedFormCCA):
    """CCA over all pairs of a class."""

    about = About(
        slug="cluster-cca",
        title="Cluster-CCA: every recording correlated with all of its class",
        paper="Rasiwasia, Mahajan, Mahadevan & Aggarwal, Cluster canonical correlation analysis, AISTATS 2014",
        family="correlation",
        state="verified: equals the explicit pairs; see coview.correlation.cluster",
    )
    Settings = ClusterCCASettings
    least_classes = 1


def _correlation(estimator: Any, tested: Moments) -> float:
    """Return the sum of the scores' correlations on other rows, averaged over pairs of views."""
    weights = torch.block_diag(*(torch.from_numpy(weight) for weight in estimator.weights_))  # type: ignore[no-untyped-call]
    scores = weights.T @ tested.covariance().cpu() @ weights
    deviation = scores.diagonal().clamp(min=1e-12).sqrt()
    components, views = estimator.weights_[0].shape[1], len(estimator.weights_)
    parts = (scores / deviation / deviation[:, None]).reshape(views, components, views, components)
    between = torch.einsum("vkwk->vw", parts)
    return float((between.sum() - between.trace()) / (views * (views - 1)))

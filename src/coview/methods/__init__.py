"""Methods and pipelines by their short names; an outside package adds methods by the entry points "coview.methods"."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from coview.errors import UsageError
from coview.plugins import entry_points
from coview.settings import from_dict

if TYPE_CHECKING:  # the names of methods are known without torch, so that help comes at once
    from coview.data.views import ViewSpec
    from coview.methods.contract import Facts, Method
    from coview.methods.pipeline import Pipeline

# What a newcomer begins with, by what there is to learn from: the words behind `coview pretrain`.
FIRST = {
    "films with sound": ("xid",),
    "pictures": ("swav",),
    "sounds": ("denoising-autoencoder", "--method.view", "audio"),
}
METHODS: dict[str, str] = {
    "xid": "coview.methods.xid:XID",
    "av-vicreg": "coview.methods.vicreg:AVVICReg",
    "vicreg-video": "coview.methods.vicreg:VICRegVideo",
    "l3": "coview.methods.l3:L3",
    "avid": "coview.methods.avid:AVID",
    "infonce": "coview.methods.infonce:InfoNCE",
    "vicreg": "coview.methods.vicreg:VICReg",
    "stica": "coview.methods.stica:STiCA",
    "cmac": "coview.methods.cmac:CMAC",
    "mcn": "coview.methods.mcn:MCN",
    "cloven": "coview.methods.cloven:CLOVEN",
    "mov": "coview.methods.mov:MOV",
    "cma": "coview.methods.cma:CMA",
    "supervised-av": "coview.methods.supervised_av:SupervisedAV",
    "classifier": "coview.methods.classifier:Classifier",
    "stage-probes": "coview.methods.stage_probes:StageProbes",
    "cca": "coview.methods.cca:ClosedFormCCA",
    "robust-cca": "coview.methods.cca:ClosedFormRobustCCA",
    "cluster-cca": "coview.methods.cca:ClosedFormClusterCCA",
    "dcca": "coview.methods.dcca:DCCA",
    "dccae": "coview.methods.dccae:DCCAE",
    "corrae": "coview.methods.dccae:CorrAE",
    "distae": "coview.methods.dccae:DistAE",
    "splitae": "coview.methods.splitae:SplitAE",
    "noi": "coview.methods.noi:NOI",
    "dgcca": "coview.methods.dgcca:DGCCA",
    "supervised-dcca": "coview.methods.supervised_dcca:SupervisedDCCA",
    "tnn-c-cca": "coview.methods.tnn_ccca:TNNCCCA",
    "ambient-sound": "coview.methods.ambient_sound:AmbientSound",
    "xdc": "coview.methods.xdc:XDC",
    "sdc": "coview.methods.xdc:SDC",
    "mdc": "coview.methods.xdc:MDC",
    "cdc": "coview.methods.xdc:CDC",
    "deepcluster-v2": "coview.methods.deepcluster_v2:DeepClusterV2",
    "selavi": "coview.methods.selavi:SeLaVi",
    "seer": "coview.methods.seer:SEER",
    "swav": "coview.methods.swav:SwAV",
    "vcca": "coview.methods.vcca:VCCA",
    "vcca-private": "coview.methods.vcca:VCCAPrivate",
    "video-triplet": "coview.methods.video_triplet:VideoTriplet",
    "steady-features": "coview.methods.steady_features:SteadyFeatures",
    "denoising-autoencoder": "coview.methods.denoising_autoencoder:DenoisingAutoencoder",
    "context-encoder": "coview.methods.context_encoder:ContextEncoder",
    "relative-position": "coview.methods.relative_position:RelativePosition",
    "colorization": "coview.methods.colorization:Colorization",
    "larsson-colorization": "coview.methods.larsson_colorization:LarssonColorization",
    "split-brain": "coview.methods.split_brain:SplitBrain",
    "vae-cca": "coview.methods.vae_cca:VAECCA",
    "weak-captions": "coview.methods.weak_captions:WeakCaptions",
    "vilbert": "coview.methods.vilbert:ViLBERT",
    "physical-prediction": "coview.methods.physical_prediction:PhysicalPrediction",
    "elo": "coview.methods.elo:ELo",
    "ccl": "coview.methods.ccl:CCL",
    "uavm": "coview.methods.uavm:UAVM",
    "cav-mae": "coview.methods.cav_mae:CAVMAE",
}
PIPELINES: dict[str, str] = {  # systems that are no methods: `coview discover` runs them (`pipeline.Pipeline`)
    "context-discovery": "coview.methods.context_discovery:ContextDiscovery",
}
FROZEN = "frozen"  # networks that were trained elsewhere, kept as a model: read, and never trained


def available() -> dict[str, str]:
    """Return slug -> "module:Class" of our methods and of those that installed packages add; ours win a name."""
    return {point.name: point.value for point in entry_points(group="coview.methods")} | METHODS


def listed() -> dict[str, str]:
    """Return slug -> "module:Class" of everything that has a name: methods and pipelines."""
    return available() | PIPELINES


def place_of(slug: str) -> str:
    """Return "module:Class" of what has this name, which is not imported; raises UsageError with the nearest name."""
    known = listed()
    if slug not in known:
        near = difflib.get_close_matches(slug, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise UsageError(f"unknown method {slug!r}{hint} Known: {', '.join(sorted(known))}")
    return known[slug]


def load_method(slug: str) -> type[Method]:
    """Import the class of a method; raises UsageError with the nearest name where there is none."""
    place = place_of(slug)
    if slug not in available():
        raise UsageError(f"{slug} is a pipeline and has no model: coview discover {slug} --collection C -o FOUND")
    return cast("type[Method]", _imported(place))


def load_pipeline(slug: str) -> type[Pipeline]:
    """Import the class of a pipeline; raises UsageError where there is none of this name."""
    if slug not in PIPELINES:
        raise UsageError(f"{slug!r} is no pipeline. Known: {', '.join(sorted(PIPELINES))}")
    return cast("type[Pipeline]", _imported(PIPELINES[slug]))


def _imported(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def register_method(kind: type[Method]) -> str:
    """Make a method of your own known in this process, and return its short name; `load_method` then finds it.

    A package that others install names its methods in its entry points instead (docs/add-a-method.md).

    Raises:
        UsageError: another method has this name, or the class is inside of a function, where no model finds it again.
    """
    slug, place = kind.about.slug, f"{kind.__module__}:{kind.__qualname__}"
    if "." in kind.__qualname__:
        raise UsageError(f"{place}: define the class at the top of a file, so that its models can be read again")
    if available().get(slug, place) != place:
        raise UsageError(f"{slug!r} is another method already ({available()[slug]}); give yours another slug")
    METHODS[slug] = place
    return slug


def build(slug: str, settings: Any, facts: Facts) -> Method:
    """Build a method from its settings, as their dataclass, as plain data, or None for the defaults.

    Raises:
        UsageError: unknown method, or one that these facts do not allow.
        SettingsError: wrong plain data.
    """
    kind = cast("type[Method]", _imported("coview.methods.frozen:Frozen")) if slug == FROZEN else load_method(slug)
    if settings is None or isinstance(settings, Mapping):
        settings = from_dict(kind.Settings, settings or {})
    return kind(settings, facts)


def views_of(slug: str, settings: Any) -> Mapping[str, ViewSpec]:
    """Return view -> specification of a method with these settings, without building its networks.

    A method of an outside package whose settings have no `specs()` is built, for a stand-in of a collection.
    """
    if hasattr(settings, "specs"):
        return dict(settings.specs())
    from coview.methods.contract import Facts

    return build(slug, settings, Facts(rows=1 << 16, classes=2, training=False)).views

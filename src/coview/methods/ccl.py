"""CCL: a small student taught by frozen networks of other senses, through a mixture of what both of them see.

Y. Chen, Y. Xian, A. S. Koepke, Y. Shan, Z. Akata, "Distilling Audio-Visual Knowledge by Compositional Contrastive
Learning", CVPR 2021 (arXiv 2104.10955). What a teacher saw is a view of stored features (`coview embed` once, then
`--collection films+audio=SAID+image=SAID`). With x_v the student's feature, x_t a teacher's, z_v and y the student's
class scores and the label,

    c = x_t + W [x_t / |x_t| ; x_v / |x_v|] + b,      z_c = linear(c)
    student   CE(z_v, y) + w sum over teachers of S(v, c) + S(v, t) + D(z_v, z_c)
    head      CE(z_c, y) + S(v, c) + S(c, t) + D(z_v, z_c)

(`coview.objectives.class_contrast`). The student follows its own loss alone, straight and through c; a head follows
both: in the second line the student is held constant, and one backward pass does what the released code's order of
clearing gradients does. Where a recording lacks a teacher, or has zeros of it, that teacher's terms leave it out; zeros
are no longer told from others once a view is normalised by its statistics, as `coview fuse` does unless told
--as-they-are. Where the student's feature is of another length than a teacher's, a linear layer of ours stands between.

A model keeps the student and its classifier. Published recipe: 16 frames of 112 pixels, PANNs' CNN14 and a ResNet-34 of
one frame as teachers, SGD at 1e-3, momentum .9, decay 5e-4 on everything, a tenth after half and after three quarters
of 300 epochs for the student alone (the heads keep their rate), 16 recordings a batch; `ucf51` has the recordings.
The released code's network has one block in each stage, which `r2plus1d-10` has too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Self, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from coview.data.augment import AugmentSettings
from coview.data.views import Batch, FeaturesView, VideoView, ViewSpec
from coview.encoders import LinearHead
from coview.encoders.features import FeatureEncoder
from coview.methods.contract import About, Coupling, Facts, Method, Step
from coview.methods.parts.towers import dim_of, encoder_of
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.objectives.class_contrast import class_contrast, jeffreys
from coview.objectives.precision import in_float32
from coview.parallel import mean_over_world


def _published() -> dict[str, ViewSpec]:
    views: dict[str, ViewSpec] = {"video": VideoView(frames=16, size=112)}
    return views | {name: FeaturesView(dim=512) for name in ("audio", "image")}


def _heats() -> dict[str, float]:
    return {"audio": 0.5, "image": 0.1}


@dataclass(frozen=True, kw_only=True)
class CCLSettings:
    """Settings of CCL; the defaults are those of its two-teacher form. The first view is the student's."""

    any_features: ClassVar[bool] = True

    views: dict[str, ViewSpec] = field(default_factory=_published)
    video_encoder: str = "r2plus1d-10"  # of a student that sees clips
    image_encoder: str = "resnet-18"  # of a student that sees pictures
    audio_encoder: str = "conv2d"  # of a student that hears
    text_encoder: str = "text-characters"  # of a student that reads
    hidden: tuple[int, ...] = (512,)  # hidden layers of a student on stored features
    embedding: int = 512  # length of the feature of such a student
    temperatures: dict[str, float] = field(default_factory=_heats)  # of the contrast, by teacher
    temperature: float = 0.5  # of teachers that are not named among the temperatures
    weight: float | None = None  # w, of what teachers say; None: 1 / their number, as published for one and two

    def __post_init__(self) -> None:
        teachers = list(self.views.values())[1:]
        if not teachers or any(spec.stream != "features" or len(spec.shape) != 1 for spec in teachers):
            raise ValueError("views: first the student's, then one or more teachers', vectors computed before")
        if min(self.temperature, *self.temperatures.values(), 1.0) <= 0:
            raise ValueError("temperatures are above 0")
        if self.embedding < 1 or (self.weight is not None and self.weight < 0):
            raise ValueError("embedding is at least 1, and weight not below 0")

    @classmethod
    def tiny(cls) -> Self:
        """Return settings for tests and dry runs: two short feature vectors, the second one the teacher's."""
        views: dict[str, ViewSpec] = {"left": FeaturesView(dim=12), "right": FeaturesView(dim=9)}
        return cls(views=views, hidden=(16,), embedding=9)

    def specs(self) -> dict[str, ViewSpec]:
        """Return the views."""
        return dict(self.views)


class Composition(nn.Module):
    """A teacher's head: its feature with a residual of both, and the class scores of that. Names as released.

    Args:
        dim: D, of the features.
        classes: C.
        student: length of the student's feature; another one than D is brought to D by a linear layer.
    """

    def __init__(self, dim: int, classes: int, student: int) -> None:
        super().__init__()
        self.bridge = nn.Identity() if student == dim else nn.Linear(student, dim)
        self.mlp, self.fc = nn.Linear(2 * dim, dim), nn.Linear(dim, classes)

    def forward(self, teacher: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
        """Return the composed feature (N, D) and its class scores (N, C), of features (N, D) each."""
        composed: Tensor = teacher + self.mlp(torch.cat([normalize(teacher), normalize(student)], 1))
        return composed, self.fc(composed)


class CCL(Method):
    """The student's encoder, its classifier, and in training a head for each teacher."""

    about = About(
        slug="ccl",
        title="CCL: a student taught by frozen networks of other senses",
        paper="Chen et al., Distilling Audio-Visual Knowledge by Compositional Contrastive Learning, CVPR 2021",
        family="fusion",
        state="verified: losses, composition, gradients of student and head equal values of the official code",
    )
    Settings = CCLSettings
    settings: CCLSettings
    published = Recipe(
        optimiser=OptimiserSettings(kind="sgd", lr=1e-3, weight_decay=5e-4, decay="everything"),
        schedule=ScheduleSettings(milestones=(0.5, 0.75), gamma=0.1),
        augment=AugmentSettings(crop_area=(0.25, 1.0), jitter=0.0),
        batch_size=16,
        epochs=300,
    )
    small = Recipe(optimiser=OptimiserSettings(lr=1e-3), augment=published.augment)
    labelled = True
    least_classes = 2
    coupling: Coupling = "negatives"

    def __init__(self, settings: CCLSettings, facts: Facts) -> None:
        super().__init__(settings, facts)
        self.student, *self.teachers = self.views
        spec = self.views[self.student]
        encoder = (
            FeatureEncoder(spec.shape, settings.hidden, settings.embedding)
            if spec.stream == "features"
            else encoder_of(settings, spec)
        )
        self.encoders[self.student] = encoder
        wide = dim_of(encoder)
        self.makers["classifier"] = LinearHead(wide, facts.classes)
        taught = self.teachers if facts.training else []
        self.heads = nn.ModuleDict(
            {name: Composition(self.views[name].shape[0], facts.classes, wide) for name in taught}
        )
        self.weight = 1 / len(self.teachers) if settings.weight is None else settings.weight

    def needs(self, batch: Batch) -> list[str]:
        """Return the student's view: a recording without a teacher still has a label."""
        return [self.student]

    def learn(self, batch: Batch) -> Step:
        """Return the losses of the student and of the heads together; parts: these, and the student's accuracy.

        A part "taught/<teacher>" is the share of the samples that the teacher has seen.
        """
        x = self.encoders[self.student](batch.views[self.student])
        z = self.makers["classifier"](x)
        student = _entropy(z, batch.label)
        heads = torch.zeros_like(student)
        parts = {"accuracy": mean_over_world((z.detach().argmax(1) == batch.label).to(student))}
        for name in self.teachers:
            there = batch.present[name] & (batch.views[name] != 0).any(1)
            terms = self.taught(name, batch.views[name][there], x[there], z[there], batch.label[there])
            student, heads = student + self.weight * terms[0], heads + terms[1]
            parts[f"taught/{name}"] = mean_over_world(there.to(student))
        parts |= {"student": student.detach(), "heads": heads.detach()}
        return Step(student + heads, parts, {self.student: x.detach()})

    def taught(self, name: str, t: Tensor, x: Tensor, z: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return what a teacher adds to the student's loss, without w, and its head's loss; of the second the student
        sees no gradient.

        Args:
            name: of the teacher.
            t: (N_r, D), what it saw.
            x, z: the student's features and class scores.
            label: int64 (N_r,).
        """
        head = cast(Composition, self.heads[name])
        heat = self.settings.temperatures.get(name, self.settings.temperature)
        x = head.bridge(x)
        composed, scores = head(t, x)
        student = class_contrast(x, composed, label, heat) + class_contrast(x, t, label, heat) + jeffreys(z, scores)
        x, z = x.detach(), z.detach()
        composed, scores = head(t, x)
        own = class_contrast(x, composed, label, heat) + class_contrast(composed, t, label, heat)
        own = own + jeffreys(z, scores) + in_float32(cross_entropy)(scores, label, reduction="none")
        return mean_over_world(student), mean_over_world(own)

    def steady(self, name: str) -> bool:
        """See `Method.steady`: the heads keep their rate; what brings a feature to their length is the student's."""
        return name.startswith("heads.") and ".bridge." not in name


def _entropy(scores: Tensor, label: Tensor) -> Tensor:
    return mean_over_world(in_float32(cross_entropy)(scores, label, reduction="none"))

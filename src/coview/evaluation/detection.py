"""Protocol image-transfer, detection: a model's encoder under Fast or Faster R-CNN, scored by mean average precision.

Girshick, "Fast R-CNN", ICCV 2015 (arXiv 1504.08083); Ren et al., "Faster R-CNN", NeurIPS 2015 (arXiv 1506.01497); both
as torchvision has them, on the maps of one stage. The head of regions is new: two linear layers. Objects that are
difficult are not learnt from. Pictures are scaled so that their shorter side is `short`, in training one of several.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.transform import resize_boxes
from torchvision.ops import MultiScaleRoIAlign

from coview.data.scenes import Objects, Scenes, mirrored, mirrored_boxes
from coview.errors import UsageError
from coview.evaluation.average_precision import Definition
from coview.evaluation.bench import Progress, Result
from coview.evaluation.dense import Dense, Draw, Maps, check_parts, dense_result, fit
from coview.evaluation.detection_scores import Found, mean_average_precision
from coview.evaluation.proposals import JitteredTruth, proposals_from
from coview.randomness import make_key

if TYPE_CHECKING:
    from coview.model import Model

_INIT = 8201
_ANCHORS = (128, 256, 512)  # sides of the paper's anchors where the shorter side is 600
_PAPER = 600


@dataclass(frozen=True, kw_only=True)
class Detection(Dense):
    """How a detector is trained and tested."""

    detector: Literal["fast-rcnn", "faster-rcnn"] = "fast-rcnn"
    proposals: str = "jittered-truth"  # fast-rcnn: that, "selective-search", or a file
    test_proposals: str | None = None  # a file for the test part; None: as `proposals`
    short: tuple[int, ...] = (480, 576, 688, 864, 1000)  # shorter side in training: one of these
    test_short: int = 600  # shorter side in the test
    long: int = 1200  # longer side at most
    width: int = 1024  # of the head's two layers
    cells: int = 7  # of a region, along each side
    regions: int = 128  # of a picture, in a step
    least_score: float = 0.05
    definitions: tuple[Definition, ...] = ("11-point", "area")

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(*self.short, self.test_short, self.long, self.width, self.cells, self.regions, len(self.short)) < 1:
            raise ValueError("short, test_short, long, width, cells and regions are 1 at least, and short is not empty")


class Given(nn.Module):
    """Stands where a network would propose regions: hands on those that it was given, in the pictures' own pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.regions: list[Tensor] = []
        self.sizes: list[tuple[int, int]] = []

    def forward(self, images: Any, features: Any, targets: Any = None) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return the regions at the scale of the network's pictures, and no loss."""
        scaled = zip(self.regions, self.sizes, images.image_sizes, strict=True)
        return [resize_boxes(boxes, list(old), list(new)) for boxes, old, new in scaled], {}


class Detector(nn.Module):
    """Fast or Faster R-CNN on a model's maps."""

    def __init__(self, maps: Maps, classes: int, how: Detection) -> None:
        super().__init__()
        sides = tuple(max(1, round(side * how.test_short / _PAPER)) for side in _ANCHORS)
        self.network: GeneralizedRCNN = FasterRCNN(
            maps,
            min_size=how.short,
            max_size=how.long,
            image_mean=[0.0] * 3,  # the model's own view normalises
            image_std=[1.0] * 3,
            rpn_anchor_generator=AnchorGenerator((sides,), ((0.5, 1.0, 2.0),)),
            box_roi_pool=MultiScaleRoIAlign(["0"], how.cells, 2),
            box_head=TwoMLPHead(maps.out_channels * how.cells**2, how.width),
            box_predictor=FastRCNNPredictor(how.width, classes + 1),
            box_batch_size_per_image=how.regions,
            box_score_thresh=how.least_score,
            box_nms_thresh=0.3,
        )
        self.network.transform.size_divisible = 1  # what is filled up would bend the scale of small pictures' maps
        self.test_short, self.short = (how.test_short,), how.short
        self.given = Given() if how.detector == "fast-rcnn" else None
        if self.given is not None:
            self.network.rpn = self.given

    def losses(self, pictures: list[Tensor], objects: list[Objects], regions: list[Tensor]) -> Tensor:
        """Return the loss of pictures uint8 (3, H, W), their objects, and the regions proposed for them."""
        self._give(pictures, regions, self.short)
        targets = [{"boxes": each.boxes, "labels": each.classes + 1} for each in objects]
        losses: dict[str, Tensor] = self.network([each.float() / 255 for each in pictures], targets)
        return torch.stack(list(losses.values())).sum()

    def detect(self, pictures: list[Tensor], regions: list[Tensor]) -> list[Found]:
        """Return what is found in pictures, on the CPU."""
        self._give(pictures, regions, self.test_short)
        found = self.network([each.float() / 255 for each in pictures])
        return [Found(one["boxes"].cpu(), one["scores"].cpu(), one["labels"].cpu() - 1) for one in found]

    def _give(self, pictures: list[Tensor], regions: list[Tensor], short: tuple[int, ...]) -> None:
        self.network.transform.min_size = short
        self.network.roi_heads.box_roi_pool.scales = None  # else those of the first pictures stay for all
        if self.given is not None:
            self.given.regions = regions
            self.given.sizes = [(int(each.shape[1]), int(each.shape[2])) for each in pictures]


def detect(
    model: Model,
    train: Scenes,
    test: Scenes,
    out: Path,
    how: Detection,
    *,
    name: str,
    progress: Progress = lambda what, done, total: None,
) -> Result:
    """Train a detector on a model's encoder and test it; continues where an earlier call was stopped.

    Figures: "detection_map-<definition>/<name>" for each of `how.definitions`.

    Args:
        model: where the encoder starts; not changed.
        train, test: scenes of the same classes.
        out: folder of the run.

    Raises:
        UsageError: as `check_parts`; the model has no such encoder, or nothing can be learnt or measured.
    """
    check_parts(train, test)
    rows = [row for row in range(len(train)) if bool((~train.truth(row).difficult).any())]
    if not rows:
        raise UsageError(f"{train.name}: no picture has an object to learn from")
    fast = how.detector == "fast-rcnn"
    regions = proposals_from(how.proposals, train, how.seed) if fast else None
    test_regions = proposals_from(how.test_proposals or how.proposals, test, how.seed + 1) if fast else None
    device = model.device
    with torch.random.fork_rng():
        torch.manual_seed(int(make_key(how.seed, _INIT)))
        detector = Detector(Maps(model, how), len(train.classes), how).to(device)

    def loss_of(draws: list[Draw]) -> Tensor:
        pictures, objects, boxes = [], [], []
        for place, mirror in draws:
            scene = train[rows[place]]
            near = None if regions is None else regions(rows[place], scene)
            if mirror and train.mirrorable(rows[place]):
                near = None if near is None else mirrored_boxes(near, scene.picture.shape[2])
                scene = mirrored(scene)
            pictures.append(scene.picture.to(device))
            boxes += [] if near is None else [near.to(device)]
            objects.append(Objects(*(values[~scene.objects.difficult].to(device) for values in scene.objects)))
        return detector.losses(pictures, objects, boxes)

    given_by = None if regions is None else regions.identity
    fit(detector, len(rows), loss_of, how, out, progress, train.fingerprint, model.digest, given_by)
    found = []
    with torch.no_grad():
        for row in range(len(test)):
            scene = test[row]
            given = [] if test_regions is None else [test_regions(row, scene).to(device)]
            found += detector.detect([scene.picture.to(device)], given)
            progress("testing", row + 1, len(test))
    truth = [test.truth(row) for row in range(len(test))]
    figures = [
        mean_average_precision("detection", name, found, truth, len(test.classes), definition, how.seed)
        for definition in how.definitions
    ]
    result = dense_result("detection", name, figures, model, train, test, how)
    if regions is not None and test_regions is not None:
        result.choices["detection"]["proposals"] = {"train": regions.source, "test": test_regions.source}
        if isinstance(test_regions, JitteredTruth):
            result.notes.append(
                "the test regions were made from the truth (jittered-truth): figures say how well regions are told "
                "apart, not how well objects are found"
            )
    return result

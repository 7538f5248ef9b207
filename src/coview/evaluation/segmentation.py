"""Protocol image-transfer, segmentation: a model's encoder under a fully convolutional head, scored by mean IU.

Long, Shelhamer & Darrell, "Fully convolutional networks for semantic segmentation", CVPR 2015 (arXiv 1411.4038), its
form FCN-32s on the maps of one stage: a convolution in the place of fc6, one in the place of fc7, scores for each
place, and bilinear enlargement to the size of the picture. Pictures keep their size; those of one step are filled up to
the largest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, pad

from coview.data.scenes import VOID, Scene, Scenes, mirrored
from coview.errors import MediaError
from coview.evaluation.bench import Progress, Result
from coview.evaluation.dense import Dense, Draw, Maps, check_parts, dense_result, fit
from coview.evaluation.segmentation_scores import confusion, mean_iu
from coview.methods.recipe import OptimiserSettings
from coview.randomness import make_key

if TYPE_CHECKING:
    from coview.model import Model

_INIT = 8301


@dataclass(frozen=True, kw_only=True)
class Segmentation(Dense):
    """How a segmenter is trained; the defaults are split-brain's for VOC 2012 (arXiv 1611.09842)."""

    batch_size: int = 20
    optimiser: OptimiserSettings = field(
        default_factory=lambda: OptimiserSettings(kind="sgd", lr=1e-4, weight_decay=5e-4)
    )
    width: int = 4096  # of the head's two layers
    kernel: int = 7  # of the first of them; odd
    dropout: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel % 2 == 0 or not 0 <= self.dropout < 1 or min(self.kernel, self.width) < 1:
            raise ValueError("kernel is odd, dropout a probability below 1, and kernel and width are 1 at least")


class Segmenter(nn.Module):
    """From pictures (B, 3, H, W) in [0, 1] to the scores (B, classes + 1, H, W) of every pixel; 0 is background."""

    def __init__(self, maps: Maps, classes: int, how: Segmentation) -> None:
        super().__init__()
        self.maps = maps
        self.head = nn.Sequential(
            nn.Conv2d(maps.out_channels, how.width, how.kernel, padding=how.kernel // 2),
            nn.ReLU(),
            nn.Dropout2d(how.dropout),
            nn.Conv2d(how.width, how.width, 1),
            nn.ReLU(),
            nn.Dropout2d(how.dropout),
            nn.Conv2d(how.width, classes + 1, 1),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the scores."""
        scores: Tensor = self.head(self.maps(pictures))
        return interpolate(scores, pictures.shape[2:], mode="bilinear")


def segment(
    model: Model,
    train: Scenes,
    test: Scenes,
    out: Path,
    how: Segmentation,
    *,
    name: str,
    progress: Progress = lambda what, done, total: None,
) -> Result:
    """Train a segmenter on a model's encoder and test it; continues where an earlier call was stopped.

    Figure: "segmentation_miu/<name>", over the classes and background, pixels of 255 left out.

    Args:
        model: where the encoder starts; not changed.
        train, test: scenes with masks of the same classes.
        out: folder of the run.

    Raises:
        UsageError: as `check_parts`; or the model has no such encoder.
        MediaError: a scene has no mask, or one of another size.
    """
    check_parts(train, test)
    device = model.device
    with torch.random.fork_rng():
        torch.manual_seed(int(make_key(how.seed, _INIT)))
        segmenter = Segmenter(Maps(model, how), len(train.classes), how).to(device)

    def loss_of(draws: list[Draw]) -> Tensor:
        scenes = [mirrored(train[row]) if mirror and train.mirrorable(row) else train[row] for row, mirror in draws]
        masks = [_mask(train.ids[row], scene) for (row, _), scene in zip(draws, scenes, strict=True)]
        high, wide = (max(mask.shape[axis] for mask in masks) for axis in (0, 1))
        room = [(0, wide - mask.shape[1], 0, high - mask.shape[0]) for mask in masks]
        pictures = torch.stack([pad(scene.picture, more) for scene, more in zip(scenes, room, strict=True)])
        truth = torch.stack([pad(mask, more, value=VOID) for mask, more in zip(masks, room, strict=True)]).to(device)
        scores = segmenter(pictures.to(device).float() / 255)
        counted = (truth != VOID).sum().clamp(min=1)  # a batch may have no pixel that counts
        return cross_entropy(scores, truth.long(), ignore_index=VOID, reduction="sum") / counted

    fit(segmenter, len(train), loss_of, how, out, progress, train.fingerprint, model.digest)
    tables = []
    with torch.no_grad():
        for row in range(len(test)):
            scene = test[row]
            said = segmenter(scene.picture[None].to(device).float() / 255)[0].argmax(0).cpu()
            tables.append(confusion(said, _mask(test.ids[row], scene), len(test.classes) + 1))
            progress("testing", row + 1, len(test))
    figure = mean_iu("segmentation", name, torch.stack(tables), how.seed)
    return dense_result("segmentation", name, [figure], model, train, test, how)


def _mask(name: str, scene: Scene) -> Tensor:
    if scene.mask is None or scene.mask.shape != scene.picture.shape[1:]:
        found = "none" if scene.mask is None else f"one of {tuple(scene.mask.shape)}"
        raise MediaError(name, "no-mask", f"expected a mask of {tuple(scene.picture.shape[1:])} pixels, found {found}")
    return scene.mask

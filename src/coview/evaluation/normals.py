"""Protocol analysis, surface normals: a head on the maps of a model's encoder says where every surface faces.

Wang & Gupta, "Unsupervised learning of visual representations using videos", ICCV 2015 (arXiv 1505.00687), section 5.3,
and Wang, Fouhey & Gupta, CVPR 2015 (arXiv 1411.4958), which choose among classes of normals; here the three numbers are
said directly, and what is learnt is 1 - cosine, whose gradient is finite where the angle's is not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize, pad

from coview.data.surfaces import Surface, Surfaces, mirrored
from coview.evaluation.bench import Progress, Result
from coview.evaluation.dense import Dense, Draw, Maps, check_parts, dense_result, fit
from coview.evaluation.normals_scores import angles, figures
from coview.methods.recipe import OptimiserSettings
from coview.randomness import make_key

if TYPE_CHECKING:
    from coview.model import Model

_INIT = 8501


@dataclass(frozen=True, kw_only=True)
class Normals(Dense):
    """How a head of normals is trained; the defaults are ours."""

    steps: int = 10_000
    batch_size: int = 16
    optimiser: OptimiserSettings = field(
        default_factory=lambda: OptimiserSettings(kind="adam", lr=1e-3, weight_decay=5e-4)
    )
    width: int = 512  # of the head's layer

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < 1:
            raise ValueError("width is 1 at least")


class NormalsHead(nn.Module):
    """From pictures (B, 3, H, W) in [0, 1] to unit normals (B, 3, H, W): right, down, away from the camera."""

    def __init__(self, maps: Maps, how: Normals) -> None:
        super().__init__()
        self.maps = maps
        self.head = nn.Sequential(
            nn.Conv2d(maps.out_channels, how.width, 3, padding=1), nn.ReLU(), nn.Conv2d(how.width, 3, 1)
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the normals."""
        said: Tensor = self.head(self.maps(pictures))
        return normalize(interpolate(said, pictures.shape[2:], mode="bilinear"), dim=1)


def normals(
    model: Model,
    train: Surfaces,
    test: Surfaces,
    out: Path,
    how: Normals,
    *,
    name: str,
    progress: Progress = lambda what, done, total: None,
) -> Result:
    """Train a head of normals on a model's encoder and test it; continues where an earlier call was stopped.

    Figures: `normals_scores.figures`; chance is the mean normal of the training part, said everywhere.

    Args:
        model: where the encoder starts; not changed.
        out: folder of the run.

    Raises:
        UsageError: as `check_parts`; or the model has no such encoder, or no test picture a known surface.
    """
    check_parts(train, test)
    device = model.device
    with torch.random.fork_rng():
        torch.manual_seed(int(make_key(how.seed, _INIT)))
        network = NormalsHead(Maps(model, how), how).to(device)

    def loss_of(draws: list[Draw]) -> Tensor:
        drawn = [mirrored(train[row]) if mirror and train.mirrorable(row) else train[row] for row, mirror in draws]
        pictures, truth = (together([getattr(one, part) for one in drawn]).to(device) for part in Surface._fields)
        return cosine_loss(network(pictures.float() / 255), truth)

    fit(network, len(train), loss_of, how, out, progress, train.fingerprint, model.digest)
    sums = [train[row].normals.flatten(1).sum(1, dtype=torch.float64) for row in range(len(train))]
    constant = torch.stack(sums).sum(0).float()
    found, guessed = [], []
    with torch.no_grad():
        for row in range(len(test)):
            picture, truth = test[row]
            said = network(picture[None].to(device).float() / 255)[0].cpu()
            known = truth.movedim(0, -1)[truth.abs().sum(0) > 0]
            found.append(angles(said.movedim(0, -1)[truth.abs().sum(0) > 0], known))
            guessed.append(angles(constant, known))
            progress("testing", row + 1, len(test))
    result = dense_result("normals", name, figures(name, found, guessed, how.seed), model, train, test, how)
    result.choices["normals"] |= {"loss": "1 - cosine", "constant": constant.tolist()}
    return result


def cosine_loss(said: Tensor, truth: Tensor) -> Tensor:
    """Return the mean of 1 - cosine between unit normals (B, 3, H, W), over pixels whose truth is not 0."""
    known = truth.abs().sum(1) > 0
    apart = 1 - (said * truth).sum(1)
    return torch.where(known, apart, 0.0).sum() / known.sum().clamp(min=1)  # a batch may have no known pixel


def together(maps: list[Tensor]) -> Tensor:
    """Return maps (C, H, W) as (B, C, H, W), filled up to the largest with 0."""
    high, wide = (max(one.shape[axis] for one in maps) for axis in (1, 2))
    return torch.stack([pad(one, (0, wide - one.shape[2], 0, high - one.shape[1])) for one in maps])

"""What both sides of `images.py` share: processor time, centre crops of photographs, the vote of nearest neighbours."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_MEAN, _STD = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def cpu_seconds() -> float:
    """User and system time of this process and its finished children."""
    use = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in use)


def centre_crops(folder: Path, size: int) -> tuple[Tensor, Tensor]:
    """Return the photographs below FOLDER/CLASS (N, 3, size, size), as ImageNet's normalised, and classes (N,)."""
    pictures, classes = [], []
    for number, inside in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
        for path in sorted(inside.glob("*.jpg")):
            picture = Image.open(path).convert("RGB")
            scale = 1.15 * size / min(picture.size)
            picture = picture.resize(
                (round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BILINEAR
            )
            left, top = (picture.width - size) // 2, (picture.height - size) // 2
            pixels = np.array(picture.crop((left, top, left + size, top + size)))
            pictures.append((torch.from_numpy(pixels).permute(2, 0, 1) / 255 - _MEAN) / _STD)
            classes.append(number)
    return torch.stack(pictures), torch.tensor(classes)


@torch.no_grad()
def neighbours(encode: Callable[[Tensor], Tensor], pictures: Tensor, classes: Tensor, k: int = 5) -> float:
    """Return how often the other photographs' `k` nearest, by the cosine of features, vote for a photograph's class."""
    features = torch.nn.functional.normalize(torch.cat([encode(some).flatten(1) for some in pictures.split(64)]), dim=1)
    near = (features @ features.T).fill_diagonal_(-2).topk(k).indices
    votes = torch.nn.functional.one_hot(classes[near]).sum(1)
    return float((votes.argmax(1) == classes).float().mean())

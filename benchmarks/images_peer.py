"""lightly's side of `images.py`: run by the Python of a virtual environment that has it, asked line by line.

Each line of standard input is a JSON object {"what": ..., ...}; each answer is one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from images_common import centre_crops, cpu_seconds, neighbours
from lightly.data import LightlyDataset
from lightly.loss import NTXentLoss, SwaVLoss, VICRegLoss
from lightly.models.modules.heads import SimCLRProjectionHead, SwaVProjectionHead, SwaVPrototypes, VICRegProjectionHead
from lightly.transforms import SimCLRTransform, SwaVTransform
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.models import resnet18


def loader(ask: dict[str, Any]) -> Any:
    """Return the loader that is asked for, without workers: its batches are lists of crops and of names."""
    if "small" in ask:
        number, size, area = ask["small"]
        transform = SwaVTransform(
            crop_sizes=(ask["size"], size), crop_counts=(2, number), crop_min_scales=(ask["area"][0], area[0]),
            crop_max_scales=(ask["area"][1], area[1]),
        )  # fmt: skip
    else:
        transform = SimCLRTransform(input_size=ask["size"], min_scale=ask["area"][0])
    dataset = LightlyDataset(ask["folder"], transform=transform)
    return DataLoader(dataset, batch_size=ask["batch"], shuffle=True, drop_last=True)


def load(ask: dict[str, Any]) -> dict[str, Any]:
    """Read as many samples as are asked for."""
    torch.manual_seed(ask["seed"])
    begin, count = cpu_seconds(), 0
    while count < ask["samples"]:
        for crops, _, _ in islice(loader(ask), (ask["samples"] - count) // ask["batch"]):
            count += len(crops[0])
    return {"per_second": count / (cpu_seconds() - begin)}


class Network(nn.Module):
    """ResNet-18, a head, and for SwAV prototypes."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*list(resnet18().children())[:-1], nn.Flatten())
        heads = {"infonce": SimCLRProjectionHead, "vicreg": VICRegProjectionHead, "swav": SwaVProjectionHead}
        self.head = heads[method](512, 512, 128)
        self.prototypes = SwaVPrototypes(128, 100) if method == "swav" else None
        self.criterion = {"infonce": lambda: NTXentLoss(0.1), "vicreg": VICRegLoss, "swav": SwaVLoss}[method]()

    def forward(self, crops: list[Tensor]) -> Tensor:
        """Return the loss of lists of crops (B, 3, S, S)."""
        made = [self.head(self.encoder(crop)) for crop in crops]
        if self.prototypes is None:
            return self.criterion(*made)
        self.prototypes.normalize()
        scores = [self.prototypes(nn.functional.normalize(one, dim=1)) for one in made]
        return self.criterion(scores[:2], scores[2:])


def train(ask: dict[str, Any]) -> dict[str, Any]:
    """Train a method of lightly's; see `images_training.py`."""
    torch.manual_seed(ask["seed"])
    network, losses = Network(ask["method"]), []
    pictures, classes = centre_crops(Path(ask["folder"]), ask["size"])

    def found() -> float:
        network.eval()
        share = neighbours(network.encoder, pictures, classes)
        network.train()
        return share

    before, begin = found(), cpu_seconds()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    while len(losses) < ask["steps"]:
        for crops, _, _ in islice(loader(ask), ask["steps"] - len(losses)):
            optimiser.zero_grad()
            loss = network(crops)
            loss.backward()
            optimiser.step()
            losses.append(round(loss.item(), 3))
    seconds = cpu_seconds() - begin
    return {"per_second": ask["steps"] * ask["batch"] / seconds, "losses": losses, "before": before, "after": found()}


def main() -> None:
    """Answer until the input ends."""
    torch.set_num_threads(1)
    ways = {"load": load, "train": train}
    for line in sys.stdin:
        ask = json.loads(line)
        begin = time.perf_counter()
        answer = ways[ask["what"]](ask)
        print(json.dumps(answer | {"seconds": time.perf_counter() - begin}), flush=True)


if __name__ == "__main__":
    main()

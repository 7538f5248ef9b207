"""Trained networks of transformers that go on learning, as the encoder of a method's view: "hf:FOLDER".

What learns is said behind the folder, by words with commas between them: "hf:FOLDER#lora=8,decay=0.8".

    frozen     nothing: only what stands behind the encoder learns
    last=N     the last N blocks, and what comes after them
    lora=R     of every linear layer's weight W alone a change B A of rank R (Hu et al., ICLR 2022, arXiv 2106.09685)
    decay=D    the rate of a block is D times that of the one above it (Clark et al., ICLR 2020, arXiv 2003.10555)

LoRA is a parametrisation of a few lines: the library `peft` would wrap the whole network under names of its own. The
networks stay in evaluation mode: their dropout and masking would draw from a generator that no seed of a run reaches,
and statistics of normalisation stay as they were trained. A kept model says what its towers are (`kept_towers`) and
needs the folder no more; a run that goes on does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from coview.encoders.base import Encoder
from coview.encoders.bridges import Scale
from coview.encoders.hugging import Tower, load_towers, rebuilt
from coview.encoders.hugging_words import TextTower
from coview.encoders.kept_towers import known_tower
from coview.errors import UsageError

_WORDS = re.compile(r"frozen|last=[1-9]\d{0,3}|lora=[1-9]\d{0,3}|decay=(0?\.\d+|1(\.0*)?)")
_LETTER = ord("a") + 1  # as texts are spelt: 0 is the end


@dataclass(frozen=True)
class Learns:
    """What of a network learns, see the module; 0 where nothing is said."""

    frozen: bool = False
    last: int = 0
    lora: int = 0
    decay: float = 1.0

    @classmethod
    def of(cls, said: str) -> Self:
        """Read the words behind a folder; raises UsageError where one is unknown, or two exclude each other."""
        words = said.split(",") if said else []
        wrong = [word for word in words if not _WORDS.fullmatch(word)]
        if wrong or len({word.partition("=")[0] for word in words}) < len(words):
            raise UsageError(f"#{said}: expected words of frozen, last=N, lora=R, decay=D (0 to 1), each once")
        known = dict(word.partition("=")[::2] for word in words)
        if len(known.keys() & {"frozen", "last", "lora"}) > 1:
            raise UsageError(f"#{said}: frozen, last and lora exclude each other")
        return cls(
            "frozen" in known, int(known.get("last", 0)), int(known.get("lora", 0)), float(known.get("decay", 1.0))
        )


class LowRank(nn.Module):
    """W + B A, of which W stays: A (R, in) is drawn as a linear layer's, B (out, R) starts at 0."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.empty(rank, weight.shape[1]))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight."""
        return weight + self.up @ self.down


class LearningTower(Encoder):
    """A tower of transformers in a method that learns.

    Args:
        tower: with its weights.
        seen: how the view scales pictures, which the tower wants in 0 to 1; None for other views.
        learns: what of it learns; what the features do not depend on never does.
        example: a view, (1, ...), by which that is found; None where nothing is to learn.
    """

    stages = ("tower",)

    def __init__(self, tower: Tower | TextTower, seen: Scale | None, learns: Learns, example: Tensor | None) -> None:
        super().__init__()
        self.tower, self.dim, self.seen, self.decay = tower, tower.dim, seen, learns.decay
        self._choose(learns)
        chosen = [parameter for parameter in self.parameters() if parameter.requires_grad]
        if chosen and example is not None:
            with torch.enable_grad():
                made = self.eval().feature_maps(example)["tower"].sum()
            reached = torch.autograd.grad(made, chosen, allow_unused=True)
            for parameter, gradient in zip(chosen, reached, strict=True):
                parameter.requires_grad_(gradient is not None)  # processes would wait for its gradient

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the features alone (B, dim)."""
        if not len(x):  # every weight has a gradient on every process
            nothing = torch.stack([(p * 0).sum() for p in self.parameters()]).sum()
            return {"tower": nothing.expand(0, self.dim)}
        if self.seen is not None:
            mean, std = (torch.tensor(each, device=x.device).view(-1, 1, 1) for each in self.seen)
            x = x * std + mean
        return {"tower": self.tower(x)}

    def pool(self, maps: Tensor) -> Tensor:
        """Return the features as they are."""
        return maps

    def train(self, mode: bool = True) -> Self:
        """Set the mode; the network keeps that of evaluation."""
        super().train(mode)
        self.tower.eval()
        return self

    def rate(self, name: str) -> float:
        """See `Encoder.rate`: what comes before all blocks is one below the first, what comes after is as the last."""
        return self.decay ** (self.blocks_in - self.height[name])

    def _choose(self, learns: Learns) -> None:
        """Set which parameters learn."""
        if learns.frozen or learns.lora:
            self.requires_grad_(False)
        if learns.lora:
            for layer in [part for part in self.modules() if isinstance(part, nn.Linear)]:
                parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, learns.lora))
        self.blocks_in, self.height = heights(self)
        if learns.last > self.blocks_in:
            raise UsageError(f"last={learns.last}: the network has {self.blocks_in} blocks")
        if learns.last:
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(self.height[name] > self.blocks_in - learns.last)


def heights(network: nn.Module) -> tuple[int, dict[str, int]]:
    """Return how many blocks a network has, and where each parameter lies.

    Its blocks are the list of modules that has most of its weights, of two modules or more where there is one: a
    network of sounds may have more convolutions in a row than layers behind them. A parameter lies at 0 before the
    blocks, at the number of its block, from 1, and behind them at that of the last.
    """
    lists = {name: part for name, part in network.named_modules() if isinstance(part, nn.ModuleList) and len(part)}
    weights = {name: sum(p.numel() for p in part.parameters()) for name, part in lists.items()}
    blocks = max(lists, key=lambda name: (len(lists[name]) > 1, weights[name]), default="")
    height, found = 0, {}
    for name, _ in network.named_parameters():
        if blocks and name.startswith(f"{blocks}."):
            height = int(name[len(blocks) + 1 :].partition(".")[0]) + 1
        found[name] = height
    return len(lists[blocks]) if blocks else 0, found


def learning_tower(
    name: str, stream: str, shape: tuple[int, ...], scale: Scale | None, stored: dict[str, object]
) -> LearningTower:
    """Return the tower of a folder, or of a repository in the hub's cache, that reads a kind of view.

    Args:
        name: the folder, and behind "#" what learns.
        stream, shape, scale, stored: of the view, see `encoders.Seen`.

    Raises:
        UsageError: as `load_towers`, there is no such tower, or the view is not cut for it: says by which settings.
    """
    folder, _, said = name.partition("#")
    learns = Learns.of(said)
    scale_seen = scale if stream == "image" else None
    if (kept := known_tower(folder, stream)) is not None:
        made = LearningTower(rebuilt(kept), scale_seen, learns, None)
        made.origin = folder, stream, kept
        return made
    home = torch.get_default_device()
    with torch.device("cpu"):
        towers = {tower.looks.stream: (tower, described) for tower, described in load_towers(folder, download=False)}
        if stream not in towers:
            raise UsageError(f"hf:{folder} is an encoder of {' and '.join(towers)}, not of {stream}")
        tower, described = towers[stream]
        wanted = None
        if stream == "text" and stored.get("tokens") != "letters":
            wanted = f"--method.text.tokens letters --method.text.length {tower.looks.letters}"
        elif stream == "audio" and (len(shape) != 1 or stored.get("sample_rate") != tower.looks.rate):
            wanted = f"--method.audio.layout waveform --method.audio.sample-rate {tower.looks.rate}"
        elif stream == "image" and scale is None:
            wanted = f"--method.image.normalise imagenet --method.image.size {tower.looks.size}"
        if wanted:
            raise UsageError(f"hf:{folder} reads another view of {stream}: {wanted}")
        example = torch.full((1, *shape), _LETTER) if stream == "text" else torch.zeros(1, *shape)
        made = LearningTower(tower, scale_seen, learns, example)
    made.origin = folder, stream, described
    return made.train().to(home)

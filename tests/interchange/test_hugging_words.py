"""Text towers and networks of two towers: equal to transformers' own pipeline, kept whole, searched by words."""

import json
import shutil
import socket

import numpy as np
import pytest
import torch
import towers
from measured import collection

from coview.cli.main import main
from coview.encoders.hugging import rebuilt
from coview.encoders.hugging_words import TextTower
from coview.errors import UsageError
from coview.interchange.pretrained import frozen_model
from coview.model import Model

hub = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow  # transformers takes ten seconds to import

TEXTS = ["a dog barks", "c++", "a long text that is cut off where the network ends", ""]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Name -> folder, network, processor, tokeniser."""
    place = tmp_path_factory.mktemp("towers")
    torch.manual_seed(0)
    return {
        name: (place / name, *getattr(towers, name)(hub, place / name)) for name in ("clip", "siglip", "clap", "bert")
    }


@pytest.mark.parametrize("name", ["clip", "siglip", "clap", "bert"])
@torch.no_grad()
def test_words_equal_the_library_and_are_kept(made, name, tmp_path):
    folder, network, _, words = made[name]
    filled = "max_length" if name == "siglip" else True
    read = words(TEXTS, return_tensors="pt", truncation=True, padding=filled)
    if name == "bert":
        there = read["attention_mask"][..., None]
        expected = (network(**read).last_hidden_state * there).sum(1) / there.sum(1)
    else:
        shown = {"input_ids": read["input_ids"]} if name == "siglip" else read
        expected = network.get_text_features(**shown).pooler_output
    model = frozen_model([f"hf:{folder}"])
    torch.testing.assert_close(model.embed_texts(TEXTS), expected, rtol=1e-4, atol=1e-5)
    model.save(tmp_path / "kept")
    again = Model.from_run(tmp_path / "kept")
    assert again.digest == model.digest
    assert torch.equal(again.embed_texts(TEXTS), model.embed_texts(TEXTS))


@pytest.mark.parametrize("name", ["clip", "siglip"])
@torch.no_grad()
def test_pictures_and_words_score_as_the_library_scores_them(made, name):
    folder, network, processor, words = made[name]
    array = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    read = words(TEXTS, return_tensors="pt", truncation=True, padding="max_length" if name == "siglip" else True)
    shown = dict(read) if name == "clip" else {"input_ids": read["input_ids"]}
    expected = network(**shown, **processor(images=array, return_tensors="pt")).logits_per_image
    model = frozen_model([f"hf:{folder}"])
    picture = model.encode_image(torch.from_numpy(array).permute(2, 0, 1))
    scale, bias = model.method.sureness("image")
    cosines = torch.cosine_similarity(picture, model.embed_texts(TEXTS), dim=1)
    torch.testing.assert_close((scale * cosines + (bias or 0.0))[None], expected, rtol=1e-3, atol=1e-3)
    assert (bias is None) == (name == "clip") and model.method.comparable("image", "text")


@torch.no_grad()
def test_sounds_and_words_score_as_the_library_scores_them(made):
    folder, network, extractor, words = made["clap"]
    sound = np.random.default_rng(0).normal(0, 0.1, 12000).astype(np.float32)
    heard = extractor(sound, sampling_rate=16000, return_tensors="pt")
    read = words(TEXTS, return_tensors="pt", truncation=True, padding=True, return_token_type_ids=False)
    expected = network(**read, **heard).logits_per_audio
    model = frozen_model([f"hf:{folder}"])
    mine = model.encode_audio(torch.from_numpy(sound), 16000)
    scale, bias = model.method.sureness("audio")
    cosines = torch.cosine_similarity(mine, model.embed_texts(TEXTS), dim=1)
    torch.testing.assert_close(scale * cosines[None], expected, rtol=1e-3, atol=1e-3)
    assert bias is None


def test_a_store_is_searched_by_words(made, tmp_path, capsys):
    out, films = str(tmp_path / "features"), str(collection())
    where = ["--collection", films]
    assert main(["embed", "--encoder", f"hf:{made['clip'][0]}", *where, "-o", out, "--windows", "1"]) == 0
    assert "Next: coview search --model" in capsys.readouterr().err
    asked = ["search", "--model", out, *where, "--embeddings", out, "--text", "a dog barks", "--json"]
    assert main(asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["from"], found["to"], len(found["hits"])) == ("text", "image", 5)


def test_films_are_named_in_three_commands(made, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    where = ["--collection", str(collection())]
    assert main(["embed", "--encoder", f"hf:{made['siglip'][0]}", *where, "-o", "features", "--windows", "2"]) == 0
    named = ["label", "--model", "features", *where, "--classes", "one, two, three", "--json"]
    capsys.readouterr()
    assert main(named) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["proposed"] == 30 and len(found["prompts"]["image"]) == 7 and found["scale"]["image"][1] is not None
    assert main([*named[:-1], "-o", "my-labels.csv", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["new"], again["counts"]) == (0, found["counts"])
    assert not (tmp_path / "features" / "embeddings").exists()  # the features were not made twice
    main(["evaluate", "zero-shot", "--model", "features", *where, "--controls", "--calibrate", "--json"])
    rows = {row["name"] for row in json.loads(capsys.readouterr().out)["results"]}
    assert {f"image_zero_shot/{row}" for row in ("frozen", "random", "permuted")} <= rows
    assert {"image_zero_shot_ece/frozen", "image_zero_shot_ece_fitted/frozen"} <= rows


def test_captions_find_their_films(made, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    films = sorted((collection() / "media").glob("**/*.mp4"))[:4]
    lines = [f"{film},test,film {number}" for number, film in enumerate(films)]
    (tmp_path / "films.csv").write_text("\n".join(["path,split,caption", *lines]))
    assert main(["index", "films.csv", "-o", "films", "--workers", "0"]) == 0
    frozen_model([f"hf:{made['clip'][0]}"]).save(tmp_path / "model")
    where = ["--collection", "films", "--train-split", "test"]
    capsys.readouterr()
    main(["evaluate", "retrieval", "--model", "model", *where, "--json"])
    rows = {row["name"]: row["n"] for row in json.loads(capsys.readouterr().out)["results"]}
    assert rows["retrieval_t2i_r1/frozen"] == rows["retrieval_i2t_r1/frozen"] == 4


def test_other_encoders_beside_words_share_no_space(made, tmp_path, capsys):
    vit = hub.ViTModel(hub.ViTConfig(image_size=32, patch_size=8, **towers.SMALL))
    vit.save_pretrained(tmp_path / "vit")
    hub.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "vit")
    model = frozen_model([f"hf:{tmp_path / 'vit'}", f"hf:{made['bert'][0]}"])
    assert not model.method.comparable("image", "text") and model.method.sureness("image") is None
    model.save(tmp_path / "model")
    asked = [
        "search",
        "--model",
        str(tmp_path / "model"),
        "--collection",
        str(collection()),
        "--text",
        "a",
        "--to",
        "image",
    ]
    assert main(asked) == 2
    assert "lie in different spaces" in capsys.readouterr().err


def copied(folder, place, *without):
    shutil.copytree(folder, place)
    for name in without:
        (place / name).unlink()
    return place


def test_what_lacks_is_told(made, tmp_path, monkeypatch):
    import huggingface_hub

    lame = copied(made["clip"][0], tmp_path / "lame", "tokenizer.json")
    with pytest.raises(UsageError, match=rf"{lame} has no tokeniser.*Fetch https://huggingface.co/OWNER/NAME/.*json"):
        frozen_model([f"hf:{lame}"])
    with pytest.raises(UsageError, match=r"model\.safetensors"):
        frozen_model([f"hf:{copied(made['clip'][0], tmp_path / 'light', 'model.safetensors')}"])
    (tmp_path / "hub" / "models--openai--clip-vit-base-patch32").mkdir(parents=True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(UsageError, match=r"The cache has openai/clip-vit-base-patch32\."):
        frozen_model(["hf:openai/clip-vit-base-patch23"])
    with pytest.raises(UsageError, match=r"OWNER/NAME; the hub's cache has openai/clip-vit-base-patch32"):
        frozen_model(["hf:clip"])


@pytest.mark.parametrize(
    "mode, said", [("cls_token", None), ("max_tokens", "makes sentences by pooling_mode_max_tokens")]
)
def test_the_folder_says_how_pieces_become_a_sentence(made, tmp_path, mode, said):
    folder = copied(made["bert"][0], tmp_path / "sentences")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{mode}": True}))
    (folder / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Transformer"}]))
    if said:
        with pytest.raises(UsageError, match=said):
            frozen_model([f"hf:{folder}"])
        return
    _, network, _, words = made["bert"]
    with torch.no_grad():
        expected = network(**words(["a dog"], return_tensors="pt")).last_hidden_state[:, 0]
    torch.testing.assert_close(frozen_model([f"hf:{folder}"]).embed_texts(["a dog"]), expected)


def test_half_a_sentence_encoder_is_refused(made, tmp_path):
    folder = copied(made["bert"][0], tmp_path / "sentences")
    (folder / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Pooling"}]))
    with pytest.raises(UsageError, match=r"1_Pooling/config\.json: .* it is not there"):
        frozen_model([f"hf:{folder}"])
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("[" * 100_000)
    with pytest.raises(UsageError, match=r"modules\.json or 1_Pooling cannot be read"):
        frozen_model([f"hf:{folder}"])


@pytest.mark.parametrize(
    "change, said",
    [
        ({"hidden_size": "wide"}, "a bert of transformers is not described by these values"),
        ({"model_type": "timm_wrapper", "model_args": {"checkpoint_path": "/x.pth"}}, "around a network of another"),
        ({"model_type": "timm_wrapper", "architecture": "hf-hub:a/b"}, "around a network of another"),
        ({"model_type": "dpt", "backbone": "a/b"}, "name that one itself, such as timm:NAME"),
        ({"model_type": "dpt", "backbone_config": {"model_type": "timm_backbone"}}, "around a network of another"),
    ],
)
def test_a_config_fetches_nothing_and_opens_no_other_file(made, tmp_path, monkeypatch, change, said):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("the network was asked"))
    folder = copied(made["bert"][0], tmp_path / "folder")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UsageError, match=said):
        frozen_model([f"hf:{folder}"])


def test_a_tokeniser_of_another_network_and_strange_texts_are_told(made, tmp_path):
    folder = copied(made["bert"][0], tmp_path / "folder")
    words = json.loads((folder / "tokenizer.json").read_text())
    words["model"]["vocab"]["a"] = 5000
    (folder / "tokenizer.json").write_text(json.dumps(words))
    with pytest.raises(UsageError, match="makes word piece 5000, and its network knows 89"):
        frozen_model([f"hf:{folder}"]).embed_texts(["a dog"])
    model = frozen_model([f"hf:{made['bert'][0]}"])
    with pytest.raises(UsageError, match="cannot read a text"):
        model.embed_texts(["\udcff"])
    texts = [f"{number}" for number in range(300)]  # more than are embedded together
    torch.testing.assert_close(model.embed_texts(texts)[290:], model.embed_texts(texts[290:]), rtol=1e-4, atol=1e-5)
    words["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}  # at which tokenizers gives up
    (folder / "tokenizer.json").write_text(json.dumps(words))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "PreTrainedTokenizerFast"}))
    with pytest.raises(UsageError, match=r"holds no tokeniser that can be read \(Precompiled"):
        frozen_model([f"hf:{folder}"])
    with (folder / "tokenizer.json").open("ab") as stream:
        stream.truncate((1 << 28) + 1)
    with pytest.raises(UsageError, match=r"tokenizer\.json has more than 256 MiB"):
        frozen_model([f"hf:{folder}"])


def test_texts_without_any_piece_are_nothing(made):
    _, network, _, _ = made["bert"]
    from tokenizers import Tokenizer, models

    data = torch.frombuffer(bytearray(Tokenizer(models.WordLevel({"a": 1}, "a")).to_str().encode()), dtype=torch.uint8)
    facts = {"bytes": len(data), "length": 8, "pad": 0, "pad_token": "", "side": "right", "fixed": False}
    tower = TextTower(network, 32, {**facts, "masked": True, "pooled": "mean"}, None)
    tower.tokeniser.copy_(data)
    assert torch.equal(tower(torch.zeros(2, 8, dtype=torch.int64)), torch.zeros(2, 32))
    assert tower(torch.zeros(0, 8, dtype=torch.int64)).shape == (0, 32)
    facts["length"] = -1
    with pytest.raises(UsageError, match="the tokeniser of the text encoder cannot be read"):
        TextTower(network, 32, {**facts, "masked": True, "pooled": "mean"}, None)(torch.zeros(2, 8, dtype=torch.int64))


def test_what_describes_a_tower_that_is_not_there_is_refused(made):
    told = frozen_model([f"hf:{made['clip'][0]}"]).method.settings.described["image"]
    with pytest.raises(UsageError, match="has no tower of audio"):
        rebuilt({**told, "part": "audio"})

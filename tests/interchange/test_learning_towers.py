"""Trained networks of transformers go on learning inside of methods: all of them, a part, or a change of low rank."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
import towers
from PIL import Image
from torch import nn

from coview.cli.main import main
from coview.data.augment import AugmentSettings
from coview.data.preprocess import Preprocess
from coview.data.views import AudioView, ImageView, TextView
from coview.encoders import build_for
from coview.encoders.learning import Learns, heights
from coview.errors import UsageError
from coview.interchange.pretrained import frozen_model
from coview.methods import build, load_method
from coview.methods.contract import Facts
from coview.model import Model
from coview.training.takeover import take_weights

hub = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow  # transformers takes ten seconds to import

PICTURE, TEXT = ImageView(size=32), TextView(length=40, tokens="letters")
LETTERS = torch.tensor([[ord(letter) + 1 for letter in "a red square".ljust(40)]])


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    towers.clip(hub, folder)
    return f"hf:{folder}"


def learning(encoder):
    return {name for name, parameter in encoder.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("said", ["", "#frozen", "#last=1", "#lora=2,decay=0.5"])
@torch.no_grad()
def test_features_are_the_towers_own_whatever_learns(clip, said):
    frozen = frozen_model([clip])
    image = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for view in (PICTURE, dataclasses.replace(PICTURE, normalise="none")):
        encoder = build_for(view, clip + said)
        torch.testing.assert_close(
            encoder(view.seen(image / 255, None)), frozen.encode_image(image), rtol=1e-4, atol=1e-5
        )
    words = build_for(TEXT, clip + said)
    torch.testing.assert_close(words(LETTERS), frozen.method.encoders["text"](LETTERS), rtol=1e-4, atol=1e-5)
    assert words(LETTERS[:0]).shape == (0, words.dim)


def test_what_learns(clip):
    whole, last, low = (build_for(PICTURE, clip + said) for said in ("", "#last=1", "#lora=2"))
    assert not learning(build_for(PICTURE, f"{clip}#frozen"))
    assert "tower.network.logit_scale" not in learning(whole)  # no feature depends on it
    assert learning(last) < learning(whole) and all(
        ".layers.1." in name or "post_layernorm" in name or "projection" in name for name in learning(last)
    )
    assert learning(low) and all(name.endswith((".0.down", ".0.up")) for name in learning(low))
    for encoder in (whole, last, low):
        encoder(torch.rand(2, 3, 32, 32)).square().sum().backward()
        assert learning(encoder) == {name for name, p in encoder.named_parameters() if p.grad is not None}
        encoder.zero_grad()
        encoder(torch.rand(0, 3, 32, 32)).sum().backward()
        assert learning(encoder) == {name for name, p in encoder.named_parameters() if p.grad is not None}


def test_a_change_of_low_rank_leaves_the_weights_and_has_its_rank(clip):
    encoder = build_for(PICTURE, f"{clip}#lora=2")
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in encoder.parameters() if p.requires_grad], 0.1)
    for _ in range(2):
        optimiser.zero_grad()
        encoder(torch.rand(2, 3, 32, 32)).square().sum().backward()
        optimiser.step()
    moved = {name for name, value in encoder.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == learning(encoder)
    layer = encoder.tower.network.vision_model.encoder.layers[0].self_attn.q_proj
    change = layer.weight - layer.parametrizations.weight.original
    assert torch.linalg.matrix_rank(change, rtol=1e-4) == 2


def test_rates_fall_from_block_to_block(clip):
    settings = load_method("infonce").Settings.tiny()
    settings = dataclasses.replace(
        settings, views=("image", "text"), image=PICTURE, text=TEXT, image_encoder=f"{clip}#decay=0.5",
        text_encoder=f"{clip}#frozen",
    )  # fmt: skip
    method = build("infonce", settings, Facts(rows=4))
    rates = {}
    for group in method.parameter_groups(0.1):
        rates |= {id(parameter): group["lr_scale"] for parameter in group["params"]}
    found = {name: rates[id(p)] for name, p in method.named_parameters() if p.requires_grad}
    vision = "encoders.image.tower.network.vision_model"
    assert found[f"{vision}.embeddings.patch_embedding.weight"] == 0.25
    assert found[f"{vision}.encoder.layers.0.mlp.fc1.weight"] == 0.5
    assert found[f"{vision}.encoder.layers.1.mlp.fc1.weight"] == found[f"{vision}.post_layernorm.weight"] == 1
    assert found["projectors.image.0.weight"] == 1 and not any("encoders.text" in name for name in found)


def test_blocks_are_those_with_the_weights():
    """Networks of sounds have convolutions in a row before few layers."""
    convolutions, layers = [nn.Linear(2, 2) for _ in range(7)], [nn.Linear(20, 20) for _ in range(2)]
    parts = {"first": nn.Linear(2, 2), "convolutions": nn.ModuleList(convolutions), "layers": nn.ModuleList(layers)}
    count, found = heights(nn.ModuleDict(parts | {"last": nn.Linear(20, 2)}))
    assert count == 2 and found["convolutions.6.bias"] == found["first.weight"] == 0
    assert (found["layers.0.weight"], found["layers.1.bias"], found["last.weight"]) == (1, 2, 2)
    assert heights(nn.ModuleDict({"layer": nn.ModuleList(layers[:1])}))[0] == 1
    assert heights(nn.Linear(2, 2)) == (0, {"weight": 0, "bias": 0})


def test_a_kept_model_needs_the_folder_no_more(clip, tmp_path):
    """It is moved, and kept again by who has it; what it says of its towers may come from anybody."""
    folder = shutil.copytree(clip.removeprefix("hf:"), tmp_path / "towers")
    settings = dataclasses.replace(
        load_method("infonce").Settings.tiny(), views=("image", "text"), image=PICTURE, text=TEXT,
        image_encoder=f"hf:{folder}#lora=2", text_encoder=f"hf:{folder}",
    )  # fmt: skip
    method = build("infonce", settings, Facts(rows=4)).eval()
    torch.nn.init.normal_(method.encoders["image"].tower.network.visual_projection.parametrizations.weight[0].up)
    about = {"collection": {"name": "c", "fingerprint": "", "rows": 4}, "classes": []}
    model = Model(method, Preprocess(method.views, AugmentSettings()), about)
    model.save(tmp_path / "kept")
    shutil.rmtree(folder)
    batch = method.example_batch(3, 0)
    batch.views["text"] = LETTERS.expand(3, -1)
    Model.from_run(tmp_path / "kept").save(tmp_path / "again")
    again = Model.from_run(tmp_path / "again")
    assert again.digest == model.digest
    torch.testing.assert_close(again.method.eval().embed(batch), method.embed(batch))
    written = tmp_path / "again" / "config.json"
    config = json.loads(written.read_text())
    shutil.copytree(clip.removeprefix("hf:"), folder)  # a stranger's model opens no folder, though it be there
    for wrong in (3, {}, {str(folder): 3}, {str(folder): {"image": {}}}, {str(folder): {"image": {"config": {}}}}):
        written.write_text(json.dumps(config | {"towers": wrong}))
        with pytest.raises(UsageError, match=r"config\.json"):
            Model.from_run(tmp_path / "again")


def test_networks_stay_in_evaluation(clip):
    encoder = build_for(PICTURE, clip).train()
    assert encoder.training and not any(part.training for part in encoder.tower.modules())


@pytest.mark.parametrize(
    ("view", "said", "told"),
    [
        (dataclasses.replace(PICTURE, normalise="clip"), "", "--method.image.normalise imagenet"),
        (dataclasses.replace(TEXT, tokens="characters"), "", "--method.text.tokens letters --method.text.length 128"),
        (AudioView(), "", "is an encoder of image and text, not of audio"),
        (PICTURE, "#last=3", "the network has 2 blocks"),
        (PICTURE, "#lora", "expected words of frozen"),
        (PICTURE, "#lora=2,frozen", "exclude each other"),
        (PICTURE, "#decay=0.5,decay=0.5", "each once"),
    ],
)
def test_what_does_not_fit_is_told(clip, view, said, told):
    with pytest.raises(UsageError, match=told):
        build_for(view, clip + said)


def test_a_folder_that_is_not_there_says_what_to_fetch(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"expected a folder with config\.json"):
        build_for(PICTURE, f"hf:{tmp_path}")
    with pytest.raises(UsageError, match=r"it is not at .*models--no--such.* Fetch https://.*config\.json by hand"):
        build_for(PICTURE, "hf:no/such#lora=8")
    assert Learns.of("") == Learns()


def test_torchvisions_weights_are_taken_over_from_a_model_of_them(tmp_path):
    torch.manual_seed(5)
    trained = build_for(PICTURE, "torchvision:squeezenet1_1").network
    torch.save(trained.state_dict(), tmp_path / "weights.pt")
    frozen_model(["torchvision:squeezenet1_1"], [tmp_path / "weights.pt"]).save(tmp_path / "model")
    settings = dataclasses.replace(
        load_method("infonce").Settings.tiny(), views=("image", "image_2"), image=ImageView(size=64),
        image_encoder="torchvision:squeezenet1_1",
    )  # fmt: skip
    method = build("infonce", settings, Facts(rows=4))
    take_weights(method, tmp_path / "model")
    for view in ("image", "image_2"):
        found = method.encoders[view].network.state_dict()
        torch.testing.assert_close(found, dict(trained.state_dict()), rtol=0, atol=0)
        assert all(parameter.requires_grad for parameter in method.encoders[view].parameters())


def test_pretraining_from_trained_towers_by_commands(clip, tmp_path, capsys):
    draw, lines = np.random.default_rng(0), []
    for number in range(24):
        name, colour = (("red", (220, 30, 30)), ("blue", (30, 50, 220)))[number % 2]
        noise = draw.normal(0, 25, (40, 48, 3))
        Image.fromarray(np.uint8(np.clip(colour + noise, 0, 255))).save(tmp_path / f"{number}.png")
        split = "train" if number < 16 else "test"
        lines.append({"path": f"{number}.png", "caption": f"a {name} square", "label": name, "split": split})
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)))
    data, run = str(tmp_path / "collection"), str(tmp_path / "run")
    assert main(["index", str(tmp_path / "manifest.jsonl"), "-o", data, "--workers", "0"]) == 0
    words = ["--tiny", "--method.views", "image", "text", "--preset", "none", "--method.image.normalise", "imagenet"]
    words += ["--method.text.tokens", "letters", "--method.image-encoder", f"{clip}#lora=2"]
    words += ["--method.text-encoder", f"{clip}#last=1,decay=0.8", "--train.steps", "3", "--train.batch-size", "8"]
    words += ["--train.workers", "0", "--train.device", "cpu"]
    assert main(["pretrain", "infonce", "--collection", data, "-o", run, *words]) == 0
    kept, trained = Model.from_run(run), frozen_model([clip])
    name = "vision_model.encoder.layers.0.mlp.fc1"
    image = kept.method.encoders["image"].tower.network.state_dict()
    start = trained.method.encoders["image"].network.state_dict()[f"{name}.weight"]
    torch.testing.assert_close(image[f"{name}.parametrizations.weight.original"], start, rtol=0, atol=0)
    assert image[f"{name}.parametrizations.weight.0.up"].any()
    text, before = (each.state_dict() for each in (
        kept.method.encoders["text"].tower.network, trained.method.encoders["text"].network))  # fmt: skip
    assert torch.equal(text["text_model.embeddings.token_embedding.weight"],
                       before["text_model.embeddings.token_embedding.weight"])  # fmt: skip
    assert not torch.equal(text["text_projection.weight"], before["text_projection.weight"])
    capsys.readouterr()
    asked = ["--model", run, "--collection", data, "--name", "x", "--windows", "1", "--device", "cpu", "--json"]
    assert main(["evaluate", "retrieval", *asked]) == 0

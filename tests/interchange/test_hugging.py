"""Networks of transformers from local folders: equal to transformers' own pipeline on the same picture and sound."""

import json
import wave

import numpy as np
import pytest
import torch

from coview.data.index import index_source
from coview.data.open import open_source
from coview.encoders.hugging import rebuilt
from coview.errors import UsageError
from coview.interchange.pretrained import frozen_model
from coview.model import Model

hub = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow  # transformers takes ten seconds to import

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37}
WAVES = {
    "conv_dim": (16, 16),
    "conv_kernel": (10, 3),
    "conv_stride": (5, 4),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
AST = {"max_length": 100, "num_mel_bins": 32}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("hf")
    made = {
        "vit": (
            hub.ViTModel(hub.ViTConfig(image_size=32, patch_size=8, **SMALL)),
            hub.ViTImageProcessor(size={"height": 32, "width": 32}),
        ),
        "bare": (
            hub.ViTModel(hub.ViTConfig(image_size=32, patch_size=8, **SMALL), add_pooling_layer=False),
            hub.ViTImageProcessor(size={"height": 32, "width": 32}),
        ),
        "ast": (hub.ASTModel(hub.ASTConfig(**AST, **SMALL)), hub.ASTFeatureExtractor(**AST)),
        "wav2vec2": (hub.Wav2Vec2Model(hub.Wav2Vec2Config(**WAVES, **SMALL)), hub.Wav2Vec2FeatureExtractor()),
    }
    for name, parts in made.items():
        for part in parts:
            part.save_pretrained(place / name)
    return place


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A file of 0.6 s at 16 kHz, and its samples."""
    path = tmp_path_factory.mktemp("sound") / "files" / "hum.wav"
    path.parent.mkdir()
    samples = (np.sin(np.arange(9600) * 0.07) * 12000 + np.random.default_rng(0).normal(0, 500, 9600)).astype("<i2")
    samples[-1] = 77  # no silence at the end
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.tobytes())
    return path, samples.astype(np.float32) / 32768


@pytest.mark.parametrize("name", ["vit", "bare"])
@torch.no_grad()
def test_pictures_equal_the_library(folder, name):
    array = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    processor = hub.AutoImageProcessor.from_pretrained(folder / name)
    made = hub.AutoModel.from_pretrained(folder / name).eval()(**processor(images=array, return_tensors="pt"))
    expected = made.pooler_output if name == "vit" else made.last_hidden_state.mean(1)
    found = frozen_model([f"hf:{folder / name}"]).encode_image(torch.from_numpy(array).permute(2, 0, 1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["ast", "wav2vec2"])
@torch.no_grad()
def test_a_sound_file_equals_the_library(folder, sound, name, tmp_path):
    path, samples = sound
    extractor = hub.AutoFeatureExtractor.from_pretrained(folder / name)
    made = hub.AutoModel.from_pretrained(folder / name).eval()(
        **extractor(samples, sampling_rate=16000, return_tensors="pt")
    )
    expected = made.pooler_output if name == "ast" else made.last_hidden_state.mean(1)
    model = frozen_model([f"hf:{folder / name}"])
    torch.testing.assert_close(model.embed([path])["audio"], expected, rtol=1e-3, atol=1e-4)
    index_source(str(path.parent), tmp_path / "collection", workers=0)
    source = open_source(str(tmp_path / "collection"), model.needed)
    batch = source.read_window(torch.arange(1), 0, 1)
    torch.testing.assert_close(model.encode(batch)["audio"], expected, rtol=1e-3, atol=1e-4)


def test_a_kept_model_needs_no_folder(folder, tmp_path):
    model = frozen_model([f"hf:{folder / 'vit'}", f"hf:{folder / 'ast'}"])
    model.save(tmp_path)
    again = Model.from_run(tmp_path)
    assert again.digest == model.digest and set(again.views) == {"image", "audio"}
    assert again.views["audio"].sample_rate == 16000 and again.dim == {"image": 32, "audio": 32}


def test_what_names_other_code_is_dropped_or_refused(folder, tmp_path):
    for file in (folder / "vit").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"auto_map": {"AutoModel": "evil--Evil"}, "_attn_implementation": "someone/kernels"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    told = frozen_model([f"hf:{tmp_path}"]).method.settings.described["image"]
    assert not {"auto_map", "_attn_implementation"} & told["config"].keys()
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "vitt"}))
    with pytest.raises(UsageError, match=r"unknown transformers encoder 'hf:vitt'; the nearest names are .*vit"):
        frozen_model([f"hf:{tmp_path}"])


def test_what_is_not_there_or_not_whole_is_told(folder, tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match=r"not at .*models--some--one, .*Fetch https://huggingface.co/some/one/"):
        frozen_model(["hf:some/one"])
    with pytest.raises(UsageError, match=r"expected a folder with config\.json"):
        frozen_model([f"hf:{tmp_path}"])


@pytest.mark.parametrize("name", ["ast", "wav2vec2"])
@torch.no_grad()
def test_a_click_before_silence_has_features(folder, name):
    tower = frozen_model([f"hf:{folder / name}"]).method.encoders["audio"]
    click = torch.zeros(1, 16000)
    click[0, 0] = 0.5
    assert bool(tower(click).isfinite().all())


def test_a_network_that_tells_no_size_of_pictures_is_refused(folder):
    told = frozen_model([f"hf:{folder / 'vit'}"]).method.settings.described["image"]
    told = {**told, "processor": {**told["processor"], "size": {"longest_edge": 64}}}
    with pytest.raises(UsageError, match="a vit of transformers cannot be used as an encoder"):
        rebuilt(told)

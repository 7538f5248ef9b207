"""The Python surface: names that no package can take, typed and described; tensors in, embeddings out."""

import inspect
import pkgutil
import subprocess
import sys

import pytest
import torch

import coview
from coview import api
from coview.data.open import open_source
from coview.errors import InputError, UsageError
from coview.methods import METHODS, build, load_method, register_method
from coview.methods.contract import Facts
from coview.model import Model

IMPORT_ALL = """
import importlib, inspect, pkgutil, coview
for module in pkgutil.walk_packages(coview.__path__, "coview."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            assert error.name is None or not error.name.startswith("coview"), error
assert all(inspect.isfunction(getattr(coview, name)) for name in coview.api.__all__)
assert all(inspect.isclass(getattr(coview, name)) for name in set(coview.__all__) - set(coview.api.__all__))
"""


def test_no_module_can_take_the_place_of_a_function():
    modules = {module.name for module in pkgutil.iter_modules(coview.__path__)}
    assert not modules & set(coview.__all__) and set(coview.__all__) > set(api.__all__)
    assert set(coview.__all__) <= set(dir(coview))
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        coview.serach  # noqa: B018


@pytest.mark.slow
def test_every_name_is_a_function_after_every_module_was_imported():
    subprocess.run([sys.executable, "-c", IMPORT_ALL], check=True)


def test_importing_coview_and_asking_for_its_names_imports_no_torch():
    code = "import sys, coview; from coview import api; [getattr(coview, name) for name in api.__all__]; "
    code += "print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("name", api.__all__)
def test_every_function_is_typed_and_described(name):
    function = getattr(coview, name)
    signature = inspect.signature(function)
    assert function.__doc__ and signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())


def test_estimators_speak_scikit_learns_names():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(50, 4, generator=draw, dtype=torch.float64)
    y = x @ torch.randn(4, 3, generator=draw, dtype=torch.float64)
    fitted = coview.CCA(n_components=2).fit(x.numpy(), y.numpy())
    assert fitted.correlations_.min() > 0.999 and fitted.get_params()["n_components"] == 2
    for name in set(coview.__all__) - {*api.__all__, "Encoder"}:
        assert "n_components" in getattr(coview, name)().get_params()


def test_methods_are_listed():
    known = coview.list_methods()
    assert set(known) >= set(METHODS) and known["xid"].coupling == "bank"


@pytest.fixture(scope="module")
def model():
    from coview.data.preprocess import Preprocess

    torch.manual_seed(0)
    method = build("xid", load_method("xid").Settings.tiny(), Facts(rows=40))
    source = open_source("digits-av:A", method.views, split="test")
    return Model.of(method, Preprocess(method.views, load_method("xid").small.augment), source)


@pytest.fixture(scope="module")
def batch(model):
    return open_source("digits-av:A", model.needed, split="test").read_window(torch.arange(3), 0, 1)


def test_tensors_are_embedded_as_a_source_is(model, batch):
    expected = model.encode(batch)
    rate = model.views["audio"].sample_rate
    assert model.encode_video(batch.views["video"]).shape == expected["video"].shape
    torch.testing.assert_close(model.encode_video(batch.views["video"]), expected["video"])
    torch.testing.assert_close(model.encode_audio(batch.views["audio"], rate), expected["audio"])
    torch.testing.assert_close(
        model.encode_video(batch.views["video"][1]), expected["video"][1:2], rtol=1e-4, atol=1e-5
    )
    features = model.encode_audio(batch.views["audio"], rate, space="backbone")
    torch.testing.assert_close(features, model.encode(batch, "backbone")["audio"])


def test_pictures_are_scaled_and_sounds_resampled(model, batch):
    frames, sound, rate = batch.views["video"], batch.views["audio"], model.views["audio"].sample_rate
    large = frames.repeat_interleave(2, -1).repeat_interleave(2, -2)
    wide = torch.nn.functional.pad(large, (30, 30))  # the square in the middle is kept
    close = torch.nn.functional.cosine_similarity(model.encode_video(wide), model.encode_video(frames))
    assert close.min() > 0.98
    short = model.encode_audio(sound[:, : rate // 2], rate)
    padded = torch.cat([sound[:, : rate // 2], torch.zeros(3, sound.shape[1] - rate // 2)], 1)
    torch.testing.assert_close(short, model.encode_audio(padded, rate))
    tone = torch.sin(torch.arange(2 * rate) * (2 * torch.pi * 440 / (2 * rate)))  # a second of it at twice the rate
    same = torch.sin(torch.arange(rate) * (2 * torch.pi * 440 / rate))
    close = torch.nn.functional.cosine_similarity(model.encode_audio(tone, 2 * rate), model.encode_audio(same, rate))
    assert float(close) > 0.99


def test_tensors_that_do_not_fit_are_refused(model, batch):
    frames, sound = batch.views["video"], batch.views["audio"]
    for call in (
        lambda: model.encode_video(frames.float()),
        lambda: model.encode_video(frames[:, :, :3]),
        lambda: model.encode_video(frames[:, :1]),
        lambda: model.encode_audio(sound[None], 16000),
        lambda: model.encode_audio(sound, 3),
        lambda: model.encode_audio(sound * torch.nan, 16000),
        lambda: model.encode_image(frames[:, :, 0]),
        lambda: model.encode_video(frames, view="audio"),
    ):
        with pytest.raises(InputError):
            call()


def test_a_method_of_ones_own_is_known_in_this_process(monkeypatch):
    kind = load_method("xid")
    assert register_method(kind) == "xid"
    other = type("Other", (kind,), {"__module__": __name__})
    with pytest.raises(UsageError, match="another method already"):
        register_method(other)
    inner = type("Inner", (kind,), {"__module__": __name__, "__qualname__": "f.<locals>.Inner"})
    with pytest.raises(UsageError, match="top of a file"):
        register_method(inner)


def test_settings_are_changed_by_their_names():
    from coview.training.settings import changed, recommended

    group = {"batch_size": 8}
    settings = {"train": group, "train.steps": 3, "method.temperature": 0.2, "collection": "c"}
    run = changed(recommended("xid", tiny=True), settings)
    assert run == changed(recommended("xid", tiny=True), dict(reversed(settings.items())))
    assert group == {"batch_size": 8}
    assert (run.train.steps, run.train.batch_size, run.method_settings.temperature) == (3, 8, 0.2)
    assert run.method_settings.video_encoder == "video-tiny"
    with pytest.raises(UsageError, match="did you mean 'temperature'"):
        changed(recommended("xid"), {"method.temprature": 1.0})

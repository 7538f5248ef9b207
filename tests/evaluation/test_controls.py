import torch
from measured import tiny_model
from torch import nn

from coview.data.augment import AugmentSettings
from coview.data.preprocess import Preprocess
from coview.data.synthetic.digits import DigitsWorld
from coview.embedding.extract import extract
from coview.evaluation.controls import random_weights
from coview.methods.contract import Facts
from coview.methods.stica import STiCA, STiCASettings
from coview.model import Model


def test_random_weights_are_other_weights_of_the_same_shape_with_calibrated_statistics() -> None:
    model, source = tiny_model(), DigitsWorld("A", "train", 96)
    before, state = model.digest, torch.get_rng_state()
    twin = random_weights(model, source, seed=1, batch_size=32)
    assert model.digest == before != twin.digest
    assert torch.equal(torch.get_rng_state(), state)
    assert random_weights(model, source, seed=1, batch_size=32).digest == twin.digest
    shapes = {name: tensor.shape for name, tensor in model.method.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in twin.method.state_dict().items()}
    layers = [layer for layer in twin.method.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    assert all(int(layer.num_batches_tracked) == 3 and layer.momentum == 0.1 for layer in layers)
    assert not twin.method.training
    # Calibrated on this source, each feature in front of the last pooling is near mean zero; uncalibrated it is not.
    features = extract(twin, source)
    assert torch.isfinite(features.values["video"]).all()
    assert float(features.values["video"].std(0).mean()) > 1e-3


def test_a_method_with_a_second_clip_has_random_weights_too() -> None:
    method = STiCA(STiCASettings.tiny(), Facts(rows=96))
    source = DigitsWorld("A", "train", 96, views={name: method.views[name] for name in ("video", "audio")})
    model = Model.of(method, Preprocess(method.views, AugmentSettings()), source)
    assert model.distinct_views() == ["video", "audio"] != list(method.views)
    twin = random_weights(model, source, seed=1, batch_size=32)
    layers = [layer for layer in twin.method.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    assert layers and any(int(layer.num_batches_tracked) == 3 for layer in layers)

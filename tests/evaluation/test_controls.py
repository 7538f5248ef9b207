import torch
from measured import tiny_model
from torch import nn

from coview.data.synthetic.digits import DigitsWorld
from coview.evaluation.controls import random_weights
from coview.evaluation.features import extract, fingerprint


def test_random_weights_are_other_weights_of_the_same_shape_with_calibrated_statistics() -> None:
    model, source = tiny_model(), DigitsWorld("A", "train", 96)
    before, state = fingerprint(model), torch.get_rng_state()
    twin = random_weights(model, source, seed=1, batch_size=32)
    assert fingerprint(model) == before != fingerprint(twin)
    assert torch.equal(torch.get_rng_state(), state)
    assert fingerprint(random_weights(model, source, seed=1, batch_size=32)) == fingerprint(twin)
    shapes = {name: tensor.shape for name, tensor in model.method.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in twin.method.state_dict().items()}
    layers = [layer for layer in twin.method.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    assert all(int(layer.num_batches_tracked) == 3 and layer.momentum == 0.1 for layer in layers)
    assert not twin.method.training
    # Calibrated on this source, each feature in front of the last pooling is near mean zero; uncalibrated it is not.
    features = extract(twin, source)
    assert torch.isfinite(features.values["video"]).all()
    assert float(features.values["video"].std(0).mean()) > 1e-3

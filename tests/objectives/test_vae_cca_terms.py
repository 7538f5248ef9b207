"""VAE-CCA: network, every term and gradient of the released code; limits; the batch law of the KL; world sizes."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import worlds
from torch.testing import assert_close

from coview import parallel
from coview.data.views import Batch, FeaturesView
from coview.methods.contract import Facts
from coview.methods.vae_cca import VAECCA, VAECCASettings
from coview.objectives.vae_cca import centre_distance, label_distance, length, pairwise_likelihood
from coview.objectives.variational import gaussian_kl

STORED = np.load(Path(__file__).parents[1] / "golden" / "vae-cca.npz")
GOLDEN = {name: torch.from_numpy(np.asarray(value)) for name, value in STORED.items()}
LABEL = GOLDEN["label"].long()
WEIGHTS = {name: float(GOLDEN[f"w_{name}"]) for name in ("samam", "lamada", "alpha", "beta", "gamma")}
NAMES = {
    "visual_net.denseL1": "encoders.v.own.layers.0",
    "audio_net.denseL1": "encoders.a.own.layers.0",
    "linearLayer1": "shared.trunk",
    "mu": "shared.mean",
    "var": "shared.log_variance",
    "linearLayer2": "shared.classifier",
    "linearLayer4": "shared.decoder",
    "visual_out": "outputs.v.layers.0",
    "audio_out": "outputs.a.layers.0",
}


def close(value, name):
    assert_close(value.detach(), GOLDEN[name].to(value), rtol=0, atol=1e-10)


@pytest.fixture
def method():
    settings = VAECCASettings(
        views={"v": FeaturesView(dim=10), "a": FeaturesView(dim=6)},
        hidden=(8,),
        dimension=5,
        variant="published-code",
    )
    method = VAECCA(settings, Facts(rows=12, classes=4)).double().eval()
    own = dict(method.named_parameters(remove_duplicate=False))
    for theirs, ours in NAMES.items():
        for part in ("weight", "bias"):
            own[f"{ours}.{part}"].data.copy_(GOLDEN[f"sd.{theirs}.{part}"])
    method.get_buffer("centres").copy_(GOLDEN["center"])
    return method


def batch():
    views = {"v": GOLDEN["xv"], "a": GOLDEN["xa"]}
    return Batch(views=views, row=torch.arange(12), key=torch.arange(12), label=LABEL)


def test_the_network_is_the_released_one(method):
    for view, values in batch().views.items():
        mean, log_variance = method.encoders[view].gaussian(values)
        close(mean, f"mu_{view}")
        close(log_variance, f"logvar_{view}")
        close(method.shared.classifier(mean), f"pred_{view}")
        close(method.outputs[view](method.shared.decoder(mean)), f"rec_{view}")


def test_the_terms_are_the_released_ones(method):
    parts = method(batch()).parts
    close(parts["label"], "disc_w")
    close(parts["correlation"], "corr_w")
    close(parts["distance"], "dist_w")
    close(parts["centre"], "center_w")
    divided = [gaussian_kl(GOLDEN[f"mu_{view}"], GOLDEN[f"logvar_{view}"]) for view in "va"]
    summed = sum(kl.sum() for kl in divided) - sum(kl.mean() for kl in divided)
    close(parts["vae"] + WEIGHTS["samam"] * summed, "vae_w")


def test_gradients_with_latents_as_leaves():
    leaf = {
        name: GOLDEN[name].clone().requires_grad_() for name in ("z_v", "z_a", "mu_v", "mu_a", "logvar_v", "logvar_a")
    }
    total = 0.0
    for view in "va":
        z = leaf[f"z_{view}"]
        vae = (GOLDEN[f"x{view}"] - GOLDEN[f"rec_{view}"]).square().mean()
        vae = vae + gaussian_kl(leaf[f"mu_{view}"], leaf[f"logvar_{view}"]).sum()
        total = (
            total + WEIGHTS["samam"] * vae + WEIGHTS["lamada"] * label_distance(GOLDEN[f"pred_{view}"], LABEL).mean()
        )
        total = total + WEIGHTS["gamma"] * 0.5 * centre_distance(z, LABEL, GOLDEN["center"]).mean()
    likelihood = pairwise_likelihood(leaf["z_v"], leaf["z_a"], LABEL).mean()
    total = total + WEIGHTS["alpha"] * likelihood + WEIGHTS["beta"] * length(leaf["z_v"] - leaf["z_a"]).mean()
    close(total, "total")
    total.backward()
    for name in ("z_v", "z_a", "mu_v", "logvar_v"):
        close(leaf[name].grad, f"g_{name}")


def test_limits():
    z = GOLDEN["z_v"]
    assert length(z - z, inside=0.0).sum() == 0
    one = torch.ones(4, 6, dtype=torch.float64).cumsum(1)
    value = pairwise_likelihood(one, one, torch.zeros(4, dtype=torch.int64)).mean()
    assert value.item() == pytest.approx(3 * (math.log(1 + math.exp(0.5)) - 0.5), abs=1e-12)
    together = z.clone().requires_grad_()
    length(together - together.detach()).sum().backward()
    assert together.grad.isfinite().all()


def test_a_batch_twice_doubles_the_kl_as_released_only(method):
    twice = batch().select(torch.arange(24) % 12)
    released = VAECCA(replace(method.settings, as_released=True), method.facts).double().eval()
    released.load_state_dict(method.state_dict())
    values = {}
    for name, one in (("default", method), ("released", released)):
        values[name] = [one(part).parts["vae"].item() for part in (batch(), twice)]
    assert values["default"][1] == pytest.approx(values["default"][0], abs=1e-12)
    errors = values["default"][0] - WEIGHTS["samam"] * sum(
        float(gaussian_kl(GOLDEN[f"mu_{view}"], GOLDEN[f"logvar_{view}"]).mean()) for view in "va"
    )
    assert values["released"][1] - errors == pytest.approx(2 * (values["released"][0] - errors), rel=1e-9)


def test_centres_follow_their_classes(method):
    method.train()
    before = method.get_buffer("centres").clone()
    method(batch())
    method.after_step()
    centres = method.get_buffer("centres")
    seen = torch.tensor([bool((c == LABEL).any()) for c in range(4)])
    assert not torch.equal(centres[seen], before[seen])
    assert torch.equal(centres[~seen], before[~seen])


def test_gradcheck():
    z = [GOLDEN[name][:6].clone().requires_grad_() for name in ("z_v", "z_a")]
    assert torch.autograd.gradcheck(lambda a, b: pairwise_likelihood(a, b, LABEL[:6]), z)
    assert torch.autograd.gradcheck(lambda a: centre_distance(a, LABEL[:6], GOLDEN["center"]), z[:1])


def share(sizes):
    start = sum(sizes[: parallel.rank()])
    own = slice(start, start + sizes[parallel.rank()])
    z = [GOLDEN[name][own].clone().requires_grad_() for name in ("z_v", "z_a")]
    rows = pairwise_likelihood(*z, LABEL[own]) + centre_distance(z[0], LABEL[own], GOLDEN["center"])
    value = parallel.mean_over_world(rows)
    value.backward()
    return value.detach(), z[0].grad, z[1].grad


@pytest.mark.parametrize("sizes", [[6, 6], [3, 3, 3, 3], [5, 0, 3, 4]])
def test_world_size(sizes):
    expected, world = share([12]), len(sizes)
    results = worlds.run(world, share, sizes)
    assert_close(sum(result[0] for result in results) / world, expected[0], rtol=0, atol=1e-10)
    for place in (1, 2):
        joined = torch.cat([result[place] for result in results]) / world
        assert_close(joined, expected[place], rtol=0, atol=1e-10)

"""NCE against memory banks: published AVID values, the fixed normaliser, limits, gradients."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from coview.data.views import Batch
from coview.methods.avid import AVID, AVIDSettings
from coview.methods.contract import Facts
from coview.methods.parts.batch import unit
from coview.objectives.nce import estimate_z, nce

GOLDEN = {
    key: torch.from_numpy(np.asarray(value))
    for key, value in np.load(Path(__file__).parents[1] / "golden" / "avid-nce.npz").items()
}
VARIANTS = {"cross": (1.0, 0.0), "self": (0.0, 1.0), "joint": (1.0, 1.0), "joint_w": (1.0, 0.3)}


@pytest.mark.parametrize("kind", ["inst", "set"])
@pytest.mark.parametrize("given", ["-1", "0.7", "5"])
def test_bare_nce_golden(kind, given):
    name = "scores_pos" if kind == "inst" else "scores_pos_set"
    positive, negative = (GOLDEN[key].clone().requires_grad_() for key in (name, "scores_neg"))
    z = estimate_z(negative) if given == "-1" else float(given)
    loss = nce(positive, negative, z).mean()
    loss.backward()
    prefix = f"nce_{kind}_Z{given}"
    assert z == pytest.approx(float(GOLDEN[f"{prefix}_Zused"]), rel=1e-6)
    torch.testing.assert_close(loss.detach().double(), GOLDEN[prefix], rtol=1e-6, atol=0)
    torch.testing.assert_close(positive.grad, GOLDEN[f"{prefix}_gpos"])
    torch.testing.assert_close(negative.grad, GOLDEN[f"{prefix}_gneg"])


def avid(variant):
    """AVID with the golden memories and, for its draws, the golden negatives."""
    cross, within = VARIANTS[variant]
    settings = AVIDSettings(
        video_encoder="video-tiny", audio_encoder="audio-tiny", hidden=(), embedding=16, negatives=6, cross=cross,
        within=within,
    )  # fmt: skip
    method = AVID(settings, Facts(rows=24))
    for name in ("video", "audio"):
        method.bank(name).memory.copy_(GOLDEN[f"memory_{name}"])
        method.bank(name).draw = lambda *_: GOLDEN["negative_index"]
    return method


@pytest.mark.parametrize("variant", VARIANTS)
def test_whole_criterion_golden(variant):
    method, row = avid(variant), GOLDEN["index"]
    raw = {name: GOLDEN[f"{name}_emb"].clone().requires_grad_() for name in ("video", "audio")}
    batch = Batch(views={}, row=row, key=row)
    loss, parts = method.criterion({name: unit(x) for name, x in raw.items()}, batch)
    loss.backward()
    torch.testing.assert_close(loss.detach().double(), GOLDEN[f"avid_{variant}_loss"], rtol=1e-5, atol=0)
    assert float(method.z) == pytest.approx(float(GOLDEN[f"avid_{variant}_Z"]), rel=1e-5)
    for name, value in parts.items():
        if name not in ("z", "infonce"):
            torch.testing.assert_close(value.double(), GOLDEN[f"avid_{variant}_{name}"], rtol=1e-5, atol=0)
    for name, x in raw.items():
        torch.testing.assert_close(x.grad, GOLDEN[f"avid_{variant}_grad_{name}"], rtol=1e-4, atol=1e-5)
        method.bank(name).update(row, x.detach())
        torch.testing.assert_close(method.bank(name).memory, GOLDEN[f"memory_{name}_after"])
    swapped = {"video": unit(raw["audio"].detach()), "audio": unit(raw["video"].detach())}
    second, _ = method.criterion(swapped, batch)
    torch.testing.assert_close(
        second.double(), GOLDEN[f"avid_{variant}_loss_step2_swapped_inputs"], rtol=1e-5, atol=1e-6
    )


def test_one_even_choice_costs_two_bits():
    """K = 1 and p+ = p- = z: two fair coins."""
    score = torch.tensor([1.3], dtype=torch.float64)
    value = nce(score, score[:, None], math.exp(1.3))
    torch.testing.assert_close(value, torch.full_like(value, 2 * math.log(2)))


def test_equal_positives_count_as_one():
    positive, negative = torch.randn(3, 1), torch.randn(3, 5)
    torch.testing.assert_close(nce(positive.expand(-1, 4), negative, 2.0), nce(positive[:, 0], negative, 2.0))


def test_gradient_follows_the_closed_form():
    positive, negative = (torch.randn(2, n, dtype=torch.float64).requires_grad_() for n in (1, 4))
    nce(positive, negative, 1.5).sum().backward()
    noise = 4 * 1.5
    torch.testing.assert_close(positive.grad, -noise / (positive.exp() + noise))
    torch.testing.assert_close(negative.grad, negative.exp() / (negative.exp() + noise))


def test_gradcheck_of_positive_sets():
    positive, negative = (torch.randn(3, n, dtype=torch.float64).requires_grad_() for n in (2, 4))
    assert torch.autograd.gradcheck(lambda p, n: nce(p, n, 0.7), (positive, negative))

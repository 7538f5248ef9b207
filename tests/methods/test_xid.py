"""xID: what its card says must hold, beyond the sweep over all methods."""

import dataclasses

import pytest
import torch

from coview.errors import SettingsError, UsageError
from coview.methods import available, build, load_method
from coview.methods.contract import Facts
from coview.methods.xid import XID, HardNegatives, XIDSettings
from coview.settings import from_dict, to_dict

TINY = XIDSettings.tiny()
PLAIN = dataclasses.replace(TINY, head_batchnorm=False)


def make(rows=40, seed=0, **changes):
    torch.manual_seed(seed)
    return XID(dataclasses.replace(PLAIN, **changes), Facts(rows=rows))


def test_names_of_methods():
    assert load_method("xid") is XID
    assert "av-vicreg" in available()
    with pytest.raises(UsageError, match="did you mean 'xid'"):
        load_method("xidd")
    built = build("xid", to_dict(TINY), Facts(rows=8))
    assert built.settings == TINY
    with pytest.raises(SettingsError, match="did you mean 'momentum'"):
        build("xid", {"momentun": 0.5}, Facts(rows=8))


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0.0},
        {"q": 1.5},
        {"momentum": -1.0},
        {"density": 0.0},
        {"variant": "in-batch", "hard": {}},
        {"positives": "label"},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(SettingsError):
        from_dict(XIDSettings, wrong)


def test_too_few_recordings_are_refused():
    with pytest.raises(UsageError, match="at least 1025 recordings, found 30"):
        make(rows=30, hard=HardNegatives())
    with pytest.raises(UsageError, match="at least 2"):
        make(rows=1)


def test_published_size():
    with torch.device("meta"):
        method = XID(XIDSettings(variant="in-batch"), Facts(rows=2))
    assert sum(parameter.numel() for parameter in method.parameters()) == 21_286_784


def test_q_grows_linearly_to_the_last_epoch():
    method = make()
    assert [round(method.q(epoch, 5), 6) for epoch in range(6)] == [0.001, 0.10075, 0.2005, 0.30025, 0.4, 0.4]
    assert method.q(0, 1) == 0.001
    assert make(q=0.0).q(3, 5) == 0.0


def test_declared_negatives_and_coupling():
    assert make().negatives(32) == 1024
    assert make(hard=HardNegatives(nearest=8)).negatives(32) == 1024 + 512 + 128
    assert make(variant="in-batch").negatives(32) == 31
    assert make().coupling == "bank"
    assert make(variant="in-batch").coupling == "negatives"


def test_random_start_costs_what_theory_says():
    """log(1 + K) + 1 / (2 D tau^2) = 7.73 for K = 1024 rows of a random memory and D = 128."""
    method = make(rows=4000, q=0.0)
    step = method(method.example_batch(16, 0))
    assert step.loss.item() == pytest.approx(7.73, abs=0.5)
    # Fresh heads map all inputs close together, so 16 anchors are few; random ones average over many directions.
    query = torch.nn.functional.normalize(torch.randn(256, 128), dim=1)
    batch = dataclasses.replace(method.example_batch(256, 0), row=torch.arange(256))
    positive, total = method._bank_scores(query, "audio", batch)
    assert (total - positive).mean().item() == pytest.approx(7.73, abs=0.2)


@pytest.mark.parametrize("changes", [{}, {"variant": "in-batch"}, {"q": 0.0}])
def test_length_of_an_embedding_does_not_matter(changes):
    """Scaling the head's output changes no loss, and the gradient is orthogonal to the embedding."""
    method = make(**changes)
    batch = method.example_batch(6, 0)
    outputs = []

    def scale(factor):
        def hook(_, __, output):
            scaled = factor * output
            if scaled.requires_grad:
                scaled.retain_grad()
            outputs.append(scaled)
            return scaled

        return hook

    losses = []
    for factor in (1.0, 7.0):
        handle = method.projectors["video"].register_forward_hook(scale(factor))
        step = method(batch)
        step.loss.backward()
        losses.append(step.loss.detach())
        handle.remove()
    torch.testing.assert_close(losses[0], losses[1])
    for output in outputs:
        along = (output * output.grad).sum(1)
        assert (along.abs() <= 1e-5 * output.norm(dim=1) * output.grad.norm(dim=1)).all()


def test_swapping_the_views_and_their_memories_changes_nothing():
    method = make()
    query = {name: torch.nn.functional.normalize(torch.randn(5, 128), dim=1) for name in ("video", "audio")}
    batch = method.example_batch(5, 0)

    def criterion(video, audio):
        pairs = [method._bank_scores(video, "audio", batch), method._bank_scores(audio, "video", batch)]
        return torch.stack([total - positive for positive, total in pairs]).mean()

    before = criterion(query["video"], query["audio"])
    method.banks["video"].memory, method.banks["audio"].memory = (
        method.banks["audio"].memory,
        method.banks["video"].memory,
    )
    torch.testing.assert_close(criterion(query["audio"], query["video"]), before)


def test_a_sample_draws_its_negatives_whatever_batch_it_is_in():
    method = make().eval()
    query = torch.nn.functional.normalize(torch.randn(8, 128), dim=1)
    batch = method.example_batch(8, 0)
    _, total = method._bank_scores(query, "audio", batch)
    _, part = method._bank_scores(query[3:5], "audio", batch.select(slice(3, 5)))
    torch.testing.assert_close(part, total[3:5])


def test_memory_follows_the_step_and_only_in_training():
    method = make(momentum=0.0)
    batch = method.example_batch(4, 0)
    before = method.banks["audio"].memory.clone()
    step = method(batch)
    assert torch.equal(method.banks["audio"].memory, before)
    method.after_step()
    torch.testing.assert_close(method.banks["audio"].memory[:4], step.embeddings["audio"])
    assert torch.equal(method.banks["audio"].memory[4:], before[4:])


def test_a_batch_of_one_works():
    for changes in ({}, {"variant": "in-batch"}, {"head_batchnorm": True}):
        method = make(**changes)
        step = method(method.example_batch(1, 0))
        step.loss.backward()
        method.after_step()
        assert step.loss.isfinite()


def test_hard_negatives_start_in_their_epoch_and_raise_the_loss():
    method = make(hard=HardNegatives(start_epoch=2, nearest=8, between=64, towards=64), q=0.0)
    batch = method.example_batch(6, 0)
    losses = [method(dataclasses.replace(batch, epoch=epoch, epochs=5)).loss.item() for epoch in (0, 1, 2)]
    assert losses[0] == losses[1] < losses[2]


def test_as_released_differs_in_rounding_alone():
    values = []
    for released in (False, True):
        method = make(as_released=released)
        values.append(method(method.example_batch(6, 0)).loss.item())
    assert values[0] != values[1]
    assert values[0] == pytest.approx(values[1], abs=2e-3)


def test_samples_of_one_label_are_partners_and_unlabelled_ones_their_own():
    pairs, labels = (make(variant="in-batch", q=0.0, positives=positives) for positives in ("pair", "label"))
    batch = pairs.example_batch(6, 0)  # without labels
    assert torch.equal(labels(batch).loss, pairs(batch).loss)
    batch = dataclasses.replace(batch, label=torch.tensor([0, 1, 0, -1, 1, 0]))
    step = labels(batch)
    scores = step.embeddings["video"] @ step.embeddings["audio"].T / labels.settings.temperature
    alike = torch.tensor(
        [[i == j or a == b >= 0 for j, b in enumerate(batch.label)] for i, a in enumerate(batch.label)]
    )
    expected = [
        torch.nn.functional.cross_entropy(way, alike / alike.sum(1, keepdim=True)) for way in (scores, scores.T)
    ]
    torch.testing.assert_close(step.loss.detach(), sum(expected) / 2)

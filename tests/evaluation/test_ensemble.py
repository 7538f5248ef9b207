"""Two models together: calibrated probabilities, joined features, gains with their intervals, controls, refusals."""

import pytest
import torch
from measuring import NumberSource, SmallModel
from torch.testing import assert_close

from coview.data.relabelled import Relabelled
from coview.errors import UsageError
from coview.evaluation import several_labels
from coview.evaluation.bench import Bench
from coview.evaluation.ensemble import COSTS, ensemble, error_correlation, permuted, platt, probabilities
from coview.evaluation.several_labels import Marks, marks_of


class Seeing(SmallModel):
    """A model that sees some of the numbers of the picture alone: number k tells class k from the others."""

    def __init__(self, seed: int, *columns: int) -> None:
        super().__init__(seed)
        self.columns = list(columns)

    def encode(self, batch, space="projected"):
        return {"video": batch.views["video"][:, self.columns], "audio": batch.views["audio"][:, :3]}


def benches(first, second, train=None, test=None):
    train, test = train or NumberSource(45, noise=0.1), test or NumberSource(60, seed=1, noise=0.1)
    return [Bench(model, train, test, name="m") for model in (first, second)]


def measured(first, second, view="video", other="video", train=None, test=None, shuffle=False):
    with benches(first, second, train, test)[0] as base, benches(first, second, train, test)[1] as member:
        fit, held = (marks_of("none", source) for source in (base.train, base.test))
        ensemble(base, view, member, other, permuted(fit, 0) if shuffle else fit, held, "m", (1.0,))
    return {m.name.partition("/")[0]: m for m in base.result.results}, base.result


def test_models_that_know_other_classes_gain_and_their_errors_differ():
    found, result = measured(Seeing(0, 0), Seeing(1, 1, 2))
    base, joined, gained = (found[f"ensemble_{what}"] for what in ("base_map-area", "joined_map-area", "joined_gain"))
    assert joined.value > base.value + 0.1 and joined.value > found["ensemble_member_map-area"].value - 0.01
    assert gained.value == pytest.approx(joined.value - base.value) and gained.low > 0 and gained.chance == 0
    assert gained.signed and found["ensemble_mean_gain"].low > 0
    assert found["ensemble_mean_map-area"].low > base.chance
    alike, _ = measured(Seeing(0, 0, 1), Seeing(1, 0, 1))
    assert found["ensemble_error_correlation"].value < 0.9 < alike["ensemble_error_correlation"].value
    assert alike["ensemble_joined_gain"].low <= 0 <= alike["ensemble_joined_gain"].high
    choices = result.choices["ensemble/m"]
    assert choices["member"]["digest"] == Seeing(1, 1, 2).digest and choices["left_out"] == {"train": 0, "test": 0}


def test_classes_of_other_recordings_teach_nothing():
    found, _ = measured(Seeing(0, 0, 1), Seeing(1, 1, 2), shuffle=True)  # who knows all of them has .95 and more
    assert max(found[f"ensemble_{what}_map-area"].value for what in ("base", "member", "mean", "joined")) < 0.7
    marks = Marks(["a"], torch.tensor([[1], [-1], [0], [-1]] * 9))
    assert not torch.equal(permuted(marks, 0).values, marks.values)
    assert torch.equal(permuted(marks, 0).values.sort(0).values, marks.values.sort(0).values)


def test_recordings_that_one_model_lacks_are_left_out_and_views_may_differ():
    found, result = measured(Seeing(0, 0), Seeing(1, 1), "video", "audio")
    silent = sum(1 for row in range(60) if row % 11 == 10)
    assert found["ensemble_base_map-area"].n == 60 - silent
    assert result.choices["ensemble/m"]["left_out"]["test"] == silent


def test_margins_become_probabilities_that_never_fall():
    draw = torch.Generator().manual_seed(0)
    margins = torch.randn(5000, generator=draw, dtype=torch.float64)
    mark = torch.where(torch.rand(5000, generator=draw) < (2 * margins - 1).sigmoid(), 1, -1)
    assert platt(margins, mark) == (pytest.approx(2, abs=0.15), pytest.approx(-1, abs=0.15))
    slope, offset = platt(-margins, mark)  # against its class: no rank is turned round, and it says the share alone
    assert 0 < slope < 1e-5 and torch.tensor(offset).sigmoid() == pytest.approx(float((mark > 0).double().mean()), 0.01)
    mark = torch.tensor([1, -1, -1, 0] * 10)
    x = torch.randn(40, 4, generator=draw) + 2 * mark[:, None] * torch.eye(4)[0]
    values, cost = probabilities(x, mark, x)
    assert cost in COSTS and bool(((values > 0) & (values < 1)).all())
    assert float(values[mark > 0].min()) > float(values[mark < 0].max()) and values[mark > 0].mean() > 0.7


def test_correlation_of_errors_is_over_what_is_clear():
    marks = torch.tensor([[1, -1], [-1, 1], [0, 1]])
    one = torch.tensor([[0.5, 0.2], [0.3, 0.9], [9.0, 0.4]], dtype=torch.float64)
    assert error_correlation(one, one, marks) == pytest.approx(1)
    errors = [(p[marks != 0] - (marks > 0).double()[marks != 0]) for p in (one, one.square())]
    assert_close(error_correlation(one, one.square(), marks), float(torch.corrcoef(torch.stack(errors))[0, 1]))
    assert error_correlation((marks > 0).double(), one, marks) is None
    assert error_correlation(one[:1, :1], one[:1, :1], marks[:1, :1]) is None  # one error alone has no correlation


def test_a_class_that_no_test_recording_is_of_is_named_and_left_out():
    train, test = NumberSource(21, noise=0.1), NumberSource(20, seed=1, noise=0.1)
    fit, held = marks_of("none", train), marks_of("none", test)
    held.values[:, 2] = -1
    with Bench(Seeing(0, 0), train, test, name="m") as base, Bench(Seeing(1, 1), train, test, name="m") as member:
        ensemble(base, "video", member, "video", fit, held, "m", (1.0,))
    choices = base.result.choices["ensemble/m"]
    assert choices["without_a_test_recording"] == [fit.classes[2]]
    assert len(choices["cost"]["of_each_class"]["base"]) == 2


def test_labels_of_a_table_stand_before_those_of_the_collection(monkeypatch):
    """The collection knows several classes of every recording; a table was given in their place."""
    source = NumberSource(6)
    monkeypatch.setattr(several_labels, "_known", lambda place: {name: {"a": 1, "b": -1} for name in source.ids})
    assert marks_of("any", source).classes == ["a", "b"]
    given = Relabelled(source, {source.ids[0]: "rain", source.ids[1]: "dog"})
    marks = marks_of("any", given)
    assert marks.classes == ["dog", "rain"] and marks.values[:3].tolist() == [[-1, 1], [1, -1], [0, 0]]


def test_what_is_no_ensemble_is_refused():
    train, test = NumberSource(60), NumberSource(30, seed=1)
    fit, held = marks_of("none", train), marks_of("none", test)
    base = Bench(Seeing(0, 0), train, test, name="m")
    others = {
        "the same weights": (Bench(Seeing(0, 0), train, test, name="m"), fit, held),
        "are other recordings": (Bench(Seeing(1, 0), train, NumberSource(30, seed=2), name="m"), fit, held),
        "different classes": (Bench(Seeing(1, 0), train, test, name="m"), fit, Marks(["a", "b"], held.values[:, :2])),
        "no class has 3 recordings": (
            Bench(Seeing(1, 0), train, test, name="m"),
            Marks(fit.classes, -fit.values.abs()),
            held,
        ),
    }
    for said, (member, learnt, asked) in others.items():
        with pytest.raises(UsageError, match=said):
            ensemble(base, "video", member, "video", learnt, asked, "m")
    with pytest.raises(UsageError, match="the same recordings"):
        one, two = (Bench(Seeing(seed, 0), test, test, name="m") for seed in (0, 1))
        ensemble(one, "video", two, "video", held, held, "m")

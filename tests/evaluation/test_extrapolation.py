"""The rank of what comes next: known sequences, what cannot be measured, which side is good."""

import pytest
import torch
from measuring import NumberSource, SmallModel

from coview.errors import UsageError
from coview.evaluation.bench import Bench
from coview.evaluation.extrapolation import extrapolation, extrapolation_ranks
from coview.evaluation.statistics import Measurement
from coview.evaluation.verdict import at_chance


def test_ranks_of_known_sequences():
    t = torch.arange(6.0)
    lines = torch.stack([torch.stack([t, 0 * t + 9 * row], 1) for row in range(3)])
    assert torch.equal(extrapolation_ranks(lines), torch.zeros(3, 4, dtype=torch.float64))
    assert extrapolation_ranks(torch.zeros(2, 5, 3)).unique().tolist() == [0.5]  # all alike: a tie is chance
    back = torch.stack([t, 0 * t], 1)[[0, 1, 0]][None]  # a step ahead and back, beside nothing else
    assert extrapolation_ranks(torch.cat([back, back + 50])).shape == (2, 1)


def test_ranks_are_those_of_plain_counting():
    z = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    everything = [(r, t) for r in range(4) for t in range(5)]
    for r in range(4):
        for t in range(3):
            goal = 2 * z[r, t + 1] - z[r, t]
            far = {at: float((z[at] - goal).norm()) for at in everything if at not in ((r, t), (r, t + 1))}
            nearer = sum(value < far[r, t + 2] for value in far.values())
            assert float(extrapolation_ranks(z)[r, t]) == pytest.approx(nearer / (len(far) - 1))


def measured(source, windows=6):
    with Bench(SmallModel(), None, source, name="mine", windows=windows) as bench:
        extrapolation(bench)
    return bench.result


def test_every_view_gets_a_figure_over_recordings():
    source = NumberSource(40, windows=6)
    found = {figure.name: figure for figure in measured(source).results}
    assert set(found) == {"video_next_rank/mine", "audio_next_rank/mine"}
    assert found["video_next_rank/mine"].n == 40 and found["video_next_rank/mine"].chance == 0.5
    assert found["audio_next_rank/mine"].n == 40 - int((~source.has_audio).sum())
    assert measured(source).choices["audio_next_rank"]["left_out"] == int((~source.has_audio).sum())
    assert measured(source).choices["video_next_rank"]["step_seconds"] == 2.0


def test_what_cannot_be_measured_is_said():
    with pytest.raises(UsageError, match=r"three cuts of each recording or more, not 2"):
        measured(NumberSource(6), windows=2)
    still = measured(NumberSource(6, windows=1))
    assert not still.results and "has 1 cut of each recording" in still.problems[0][1]


def test_a_low_rank_is_good():
    good = Measurement("video_next_rank/mine", 0.1, 0.05, 0.2, 0.5, 40)
    assert not at_chance(good) and at_chance(Measurement("video_next_rank/mine", 0.9, 0.8, 0.95, 0.5, 40))

import pytest
import torch
import worlds
from measuring import NumberSource, SmallModel

from coview.data.views import Batch
from coview.embedding.extract import NOT_FINITE, extract
from coview.errors import CoviewError, UsageError


def test_features_are_those_of_each_recording_in_order(source: NumberSource) -> None:
    model, seen = SmallModel(), []
    features = extract(model, source, windows=5, batch_size=7, progress=lambda done, total: seen.append((done, total)))
    assert features.clips["video"].shape == (61, 2, 16)  # the source has two windows, not five
    expected = model.encode(source.read_window(torch.tensor([37]), 1, 2), "backbone")["audio"][0]
    assert torch.allclose(features.clips["audio"][37, 1], expected, atol=1e-6)
    assert torch.allclose(features.values["video"], features.clips["video"].mean(1))
    assert features.ids == source.ids
    assert features.start["video"][3].tolist() == [0.0, 2.0]
    assert seen[-1] == (122, 122)


def test_absent_views_are_marked_and_never_have_values(source: NumberSource) -> None:
    features = extract(SmallModel(), source, windows=2)
    assert torch.equal(features.present["audio"], source.has_audio)
    assert (features.values["audio"][~source.has_audio] == 0).all()
    assert features.present["video"].all()


def test_a_part_of_the_rows(source: NumberSource) -> None:
    rows = torch.tensor([3, 5, 60])
    part, whole = extract(SmallModel(), source, rows=rows), extract(SmallModel(), source)
    assert part.ids == ["r003", "r005", "r060"]
    assert torch.allclose(part.values["video"], whole.values["video"][rows], atol=1e-6)


def test_nothing_to_embed_is_refused(source: NumberSource) -> None:
    with pytest.raises(UsageError, match="nothing to embed"):
        extract(SmallModel(), source, rows=torch.empty(0, dtype=torch.int64))


def test_fingerprint_sees_weights_and_running_statistics() -> None:
    assert SmallModel(0).digest == SmallModel(0).digest != SmallModel(1).digest
    model = SmallModel(0)
    model.method.encoders["video"][1].running_mean += 1e-6
    assert model.digest != SmallModel(0).digest


def test_problems_travel_with_their_reasons(source: NumberSource) -> None:
    source.unreadable = {3: "truncated", 40: "missing"}
    source.video[5, 1], source.audio[7] = torch.nan, torch.inf
    found = extract(SmallModel(), source, windows=2)
    bad = [("r005", NOT_FINITE), ("r007", NOT_FINITE)]
    assert found.problems == [("r003", "truncated"), *bad, ("r040", "missing")]
    assert all(bool(clips.isfinite().all()) for clips in found.clips.values())
    assert not found.present["video"][[3, 40]].any() and not found.present["audio"][7]
    assert found.clip_present["video"][5].tolist() == [True, False]
    whole = extract(SmallModel(), NumberSource(61), windows=2)
    rest = [row for row in range(61) if row not in (3, 5, 7, 40)]
    assert torch.allclose(found.values["video"][rest], whole.values["video"][rest], atol=1e-6)


def test_a_model_that_makes_nothing_finite_is_refused(source: NumberSource) -> None:
    model = SmallModel()
    for head in model.method.encoders.values():
        head[0].weight.data[:] = torch.nan
    with pytest.raises(CoviewError, match="NaN or infinity of all 61 recordings"):
        extract(model, source)


class Joint(SmallModel):
    """Video and audio together, beside the video alone."""

    reads = {"video": ("video",), "both": ("video", "audio")}  # type: ignore[assignment]

    def encode(self, batch: Batch, space: str = "projected") -> dict[str, torch.Tensor]:
        return {"video": batch.views["video"], "both": torch.cat(list(batch.views.values()), 1)}


def test_what_is_made_of_two_views_is_there_where_both_are(source: NumberSource) -> None:
    source.unreadable = {4: "missing"}
    found = extract(Joint(), source, windows=2)
    assert list(found.clips) == ["both", "video"] and found.clips["both"].shape == (61, 2, 11)
    there = source.has_audio.clone()
    there[4] = False
    assert torch.equal(found.present["both"], there) and int(found.present["video"].sum()) == 60
    assert found.start["both"][3].tolist() == [0.0, 2.0]


def _extract_here(rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    features = extract(SmallModel(), NumberSource(rows), windows=2, space="projected", batch_size=4)
    return features.clips["audio"], features.clip_present["audio"], features.rows


@pytest.mark.slow
@pytest.mark.parametrize("rows", [13, 8, 3])
@pytest.mark.parametrize("world", [2, 4])
def test_processes_give_what_one_gives(rows: int, world: int) -> None:
    expected = _extract_here(rows)
    for clips, present, order in worlds.run(world, _extract_here, rows):
        assert torch.allclose(clips, expected[0], atol=1e-6)
        assert torch.equal(present, expected[1])
        assert torch.equal(order, expected[2])


def _problems_here(rows: int) -> list[tuple[str, str]]:
    source = NumberSource(rows)
    source.unreadable = {0: "truncated", 9: "it\u2019s gone\n"}
    return extract(SmallModel(), source, windows=2, batch_size=2).problems


@pytest.mark.slow
def test_every_process_knows_all_problems() -> None:
    assert worlds.run(4, _problems_here, 13) == [[("r000", "truncated"), ("r009", "it\u2019s gone\n")]] * 4

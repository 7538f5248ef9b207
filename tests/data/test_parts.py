"""The parts of small collections: by class, together what belongs together, and as they were for all others."""

import dataclasses
from collections import Counter

import pytest

from coview.data.parts import SMALL, share_out
from coview.data.recording import Recording


def rows(count: int, label: str | None = None, *, video: bool = True, audio: bool = True) -> list[Recording]:
    name = f"{label}-{int(video)}{int(audio)}"
    return [
        Recording(
            id=f"{name}-{number}", path="x", start=0, end=1, duration=1, has_video=video, has_audio=audio, label=label
        )
        for number in range(count)
    ]


def parts(recordings: list[Recording]) -> Counter[str | None]:
    return Counter(row.split for row in recordings)


def test_sixty_two_files_of_which_forty_eight_have_one_of_six_labels() -> None:
    recordings = [row for label in "abcdef" for row in rows(8, label)] + rows(14)
    made, about = share_out(recordings)
    assert about == {"by": "class", "train": 46, "validation": 8, "test": 8}
    for label in "abcdef":
        assert parts([row for row in made if row.label == label]) == {"train": 6, "validation": 1, "test": 1}
    assert {(row.split, row.folds) for row in made} == {
        ("train", ("train", "train")), ("validation", ("validation", "test")), ("test", ("test", "validation")),
    }  # fmt: skip
    assert share_out(recordings) == (made, about)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(1, (1, 0, 0)), (3, (3, 0, 0)), (4, (2, 0, 2)), (5, (3, 0, 2)), (12, (8, 2, 2)), (40, (30, 5, 5))],
)
def test_few_recordings_without_labels(count: int, expected: tuple[int, int, int]) -> None:
    made, about = share_out(rows(count))
    assert tuple(about[name] for name in ("train", "validation", "test")) == expected
    assert all(not row.folds for row in made) == (expected[1] == 0)


def test_kinds_are_spread_evenly() -> None:
    made, _ = share_out(rows(32) + rows(32, video=False) + rows(32, audio=False))
    for part in ("validation", "test"):
        kinds = Counter((row.has_video, row.has_audio) for row in made if row.split == part)
        assert len(kinds) == 3 and max(kinds.values()) - min(kinds.values()) <= 1, (part, kinds)


def test_classes_of_one_or_two_still_leave_two_tests() -> None:
    made, about = share_out([row for label in "abcdefgh" for row in rows(2, label)])
    assert about["test"] == 2 and len(made) == 16


def test_groups_and_copies_stay_together() -> None:
    recordings = [dataclasses.replace(row, group=f"film {n // 4}") for n, row in enumerate(rows(32))]
    recordings += [dataclasses.replace(row, content=f"same {n % 8}") for n, row in enumerate(rows(16, "b"))]
    recordings[1] = dataclasses.replace(recordings[1], content="same 3")  # ties a film to two copies
    made, _ = share_out(recordings)
    for key in ("group", "content"):
        held: dict[str, set[str | None]] = {}
        for row in made:
            if getattr(row, key):
                held.setdefault(getattr(row, key), set()).add(row.split)
        assert all(len(found) == 1 for found in held.values()), held


def test_what_the_data_say_and_large_collections_stay_as_they_are() -> None:
    given = [dataclasses.replace(rows(9)[0], split="test"), *rows(9)[1:]]
    assert share_out(given) == (given, {"by": "data", "train": 0, "validation": 0, "test": 1})
    folded = [dataclasses.replace(row, folds=("train",)) for row in rows(9)]
    assert share_out(folded)[0] == folded
    many = rows(SMALL)
    made, about = share_out(many)
    assert made == many and about["by"] == "name" and about["train"] > SMALL // 2

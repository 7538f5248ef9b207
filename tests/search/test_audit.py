"""The audit: what was planted is found, and nothing is where nothing was planted."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from measured import collection, tiny_model

from coview.cli.main import main
from coview.data.collection import Collection
from coview.embedding.extract import Features
from coview.media.encode import write_clip
from coview.search.audit import outliers, shared_sounds
from coview.search.fingerprints import Fingerprints, what_is_odd
from coview.search.pairs import fit, groups, nearest


def unit(values: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(values, dim=1)


def test_exchanged_sounds_of_instances_are_found_and_of_kinds_too() -> None:
    draw = torch.Generator().manual_seed(0)
    kinds = torch.randint(10, (600,), generator=draw)
    centres = torch.randn(10, 32, generator=draw)
    picture, sound = (unit(centres[kinds] + 0.5 * torch.randn(600, 32, generator=draw)) for _ in range(2))
    clean = fit(picture, sound)
    assert float((clean.better > 0.2).double().mean()) < 0.02
    wrong = torch.randperm(600, generator=draw)[:60]
    exchanged = sound.clone()
    exchanged[wrong] = sound[wrong.roll(1)]
    told = kinds[wrong] != kinds[wrong.roll(1)]
    flagged = fit(picture, exchanged).better > 0.2
    assert float(flagged[wrong[told]].double().mean()) > 0.8 and int(flagged.sum()) < 1.25 * int(told.sum())
    assert fit(unit(torch.eye(40)), unit(torch.eye(40))).first == 1.0


def test_neighbours_and_groups() -> None:
    values = unit(torch.randn(50, 6, generator=torch.Generator().manual_seed(0)))
    rows, cosine = nearest(values, 5)
    whole = (values @ values.T).fill_diagonal_(-2)
    assert torch.equal(rows, whole.topk(5).indices) and torch.allclose(cosine, whole.topk(5).values)
    assert groups(torch.tensor([4, 1, 7]), torch.tensor([2, 9, 1])) == [[1, 7, 9], [2, 4]]


@pytest.mark.parametrize(
    ("picture", "frames", "words"),
    [(0.0, 0.0, "black"), (0.5, 0.5, "one colour"), (None, "still", "frozen"), (None, "moving", "")],
)
def test_what_a_picture_that_shows_nothing_is_called(picture: object, frames: object, words: str) -> None:
    seen = torch.rand(3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    film = (255 * (seen[:, :1].expand_as(seen) if frames == "still" else seen)).to(torch.uint8)
    shown = torch.full((3, 16, 16), picture) if isinstance(picture, float) else seen[:, 2]
    assert what_is_odd(shown, film) == words


@pytest.mark.slow
def test_planted_copies_leaks_and_empty_films_are_found_and_no_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = Collection.open(collection())
    files = [opened.path(recording) for recording in opened]
    folder = tmp_path / "media"
    folder.mkdir()
    lines = ["path,split"]
    for number, file in enumerate(files[:12]):
        shutil.copy(file, folder / f"{number:02d}.mp4")
        lines.append(f"{number:02d}.mp4,train")
    shutil.copy(files[3], folder / "copied.mp4")
    lines.append("copied.mp4,test")
    for number in (5, 6, 7):  # encoded anew: other bytes, other content
        again(files[number], folder / f"again{number}.mp4")
        lines.append(f"again{number}.mp4,{'test' if number == 5 else 'train'}")
    tone = 0.3 * torch.sin(torch.arange(32000) / 16000 * 2 * torch.pi * 440)
    write_clip(folder / "black.mp4", torch.zeros(3, 32, 64, 64, dtype=torch.uint8), 16.0, tone, 16000)
    lines.append("black.mp4,train")
    (folder / "all.csv").write_text("\n".join(lines) + "\n")
    assert main(["index", str(folder / "all.csv"), "-o", str(tmp_path / "c"), "--workers", "0", "--json"]) == 0
    tiny_model().save(tmp_path / "model")
    capsys.readouterr()
    words = ["audit", "--model", str(tmp_path / "model"), "--collection", str(tmp_path / "c")]
    assert main([*words, "-o", str(tmp_path / "out"), "--device", "cpu", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    found: dict[str, set[frozenset[str]]] = {}
    for kind in ("leak", "copy", "nothing"):
        rows = [each for each in result["suspects"] if each["kind"] == kind]
        found[kind] = {
            frozenset(Path(each["id"]).stem for each in rows if each["group"] == one["group"]) for one in rows
        }
    assert found["leak"] == {frozenset({"03", "copied"}), frozenset({"05", "again5"})}
    assert found["copy"] == {frozenset({"06", "again6"}), frozenset({"07", "again7"})}
    assert frozenset({"black"}) in found["nothing"]
    table = pq.read_table(tmp_path / "out" / "audit.parquet")
    assert table.num_rows == len(result["suspects"]) and table.column("kind").to_pylist()[0] == "leak"
    page = (tmp_path / "out" / "audit.html").read_text()
    assert "The same recording in several splits" in page and "again5" in page and "http" not in page
    assert "again5" in (tmp_path / "out" / "audit.md").read_text()


def again(file: Path, to: Path) -> None:
    """Encode a film once more, at another quality and another rate of its sound."""
    import av

    with av.open(str(file)) as media:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in media.decode(video=0)])
        fps = float(media.streams.video[0].average_rate)
    with av.open(str(file)) as media:
        blocks = [frame.to_ndarray().mean(0) for frame in media.decode(audio=0)]
        rate = media.streams.audio[0].rate
    write_clip(
        to, torch.from_numpy(frames).permute(3, 0, 1, 2), fps, torch.from_numpy(np.concatenate(blocks)), rate, crf=30
    )


def test_one_sound_under_other_pictures_and_labels_that_no_neighbour_has() -> None:
    draw = torch.Generator().manual_seed(3)
    looks, sounds = (unit(torch.randn(40, 256, generator=draw)) for _ in range(2))
    sounds[[3, 9, 20]] = sounds[3].clone()
    sounds[5], looks[5] = sounds[6], looks[6]  # one recording twice: its pictures do not differ
    prints = Fingerprints(looks.half(), sounds.half(), {})
    found = shared_sounds(sounds, torch.ones(40, dtype=torch.bool), prints)
    assert [each.rows for each in found] == [[3, 9, 20]]
    labels = torch.arange(40) % 2
    values = unit(torch.eye(2)[labels] + 0.1 * torch.randn(40, 2, generator=draw))
    labels[7] = 0
    features = Features(
        {"v": values[:, None]}, {"v": torch.ones(40, 1, dtype=torch.bool)}, {}, labels, torch.arange(40),
        [str(row) for row in range(40)], ["even", "odd"],
    )  # fmt: skip
    wrong = outliers(values, features)
    assert [each.rows for each in wrong] == [[7]] and "labelled 'even'" in wrong[0].why

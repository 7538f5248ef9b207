"""Worlds as files: the MP4 holds the clip's picture and sound, and writing again changes nothing."""

import json

import pytest
import torch

from coview.data.adapters import Options
from coview.data.adapters.worlds import make_digits, make_objects
from coview.data.synthetic import parse_world
from coview.data.synthetic.export import write_mp4
from coview.errors import UsageError
from coview.media.decode import read_audio, read_video


@pytest.mark.parametrize("name", ["digits-av:A", "objects-av"])
def test_files_hold_the_clips(tmp_path, name):
    world = parse_world(name, "test", 3)
    manifest = write_mp4(world, tmp_path, 2)
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [line["id"] for line in lines] == world.ids[:2]
    assert [line["label"] for line in lines] == [world.classes[int(label)] for label in world.labels[:2]]
    assert {line["split"] for line in lines} == {"test"}
    clips = world.render(torch.arange(2))
    path = tmp_path / lines[1]["path"]
    video = read_video(path, 0.0, 8, world.fps, clips["video"].shape[-1])
    assert (video.float() - clips["video"][1].float()).abs().mean() < 12  # of 255, after H.264
    sound = read_audio(path, 0.0, 1.0, 16000)
    correlation = torch.corrcoef(torch.stack([sound, clips["audio"][1]]))[0, 1]
    assert correlation > 0.9
    before = path.stat().st_mtime_ns
    write_mp4(world, tmp_path, 2)
    assert path.stat().st_mtime_ns == before


def test_adapters_share_a_count_among_splits(tmp_path):
    seen = []
    made = make_digits(
        tmp_path, Options(variant="C", count=10, progress=lambda done, total: seen.append((done, total)))
    )
    assert len(made.items) == 10 and {item.split for item in made.items} == {"train", "validation", "test"}
    assert all((made.root / item.path).is_file() for item in made.items)
    assert made.report["world"] == "digits-av:C" and seen[-1] == (10, 10)
    with pytest.raises(UsageError, match="at least 3"):
        make_objects(tmp_path, Options(count=2))
    with pytest.raises(UsageError, match="leave out the folder"):
        make_digits(tmp_path, Options(folder=tmp_path))

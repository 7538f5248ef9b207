"""Several windows of a film in one pass over it: the same batches as window by window, and a film is opened once."""

import pytest
import torch

from coview.data import media_source
from coview.data.media_source import MediaSource
from coview.data.part import Part
from coview.data.views import AudioView, VideoView
from coview.embedding import extract
from coview.errors import MediaError

VIEWS = {"video": VideoView(frames=3, fps=5, size=16, margin=1.0), "audio": AudioView(seconds=0.5, sample_rate=8000)}


def window_by_window(source, rows, windows, size):
    return [source.read_window(part, w, windows) for part in torch.split(rows, size) for w in range(windows)]


def same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert one.row.equal(other.row) and one.label.equal(other.label) and one.replaced == other.replaced
        for name in VIEWS:
            assert one.start[name].equal(other.start[name]) and one.present[name].equal(other.present[name])
            assert one.views[name].equal(other.views[name])


@pytest.mark.parametrize("room", [1 << 30, 2 * 5 * (3 * 3 * 16 * 16 + 4 * 4000), 1])
def test_all_windows_are_those_that_are_read_alone(bad_collection, monkeypatch, room):
    monkeypatch.setattr(extract, "_TOGETHER_BYTES", room)
    source = MediaSource(bad_collection, VIEWS)
    rows = torch.arange(len(source))
    same(extract.read_windows(source, rows, 3, 5), window_by_window(source, rows, 3, 5))
    part = Part(source, rows[1::2].contiguous())
    same(
        extract.read_windows(part, torch.arange(len(part)), 3, 4), window_by_window(part, torch.arange(len(part)), 3, 4)
    )


def test_each_film_is_read_once(bad_collection, monkeypatch):
    reads = []
    real = media_source.read_samples
    monkeypatch.setattr(
        media_source, "read_samples", lambda path, cuts, **how: reads.append(len(cuts)) or real(path, cuts, **how)
    )
    source = MediaSource(bad_collection, VIEWS)
    assert len(list(extract.read_windows(source, torch.arange(len(source)), 3, 8))) == 3 * -(-len(source) // 8)
    assert reads.count(3) >= len(source) / 2 and len(reads) <= len(source)


def test_a_window_that_cannot_be_read_is_absent_alone(bad_collection, monkeypatch):
    real = media_source.read_samples

    def broken(path, samples, **how):
        if any((video or audio).start > 0.6 for sample in samples for video, audio in sample):
            raise MediaError(str(path), "undecodable", "it is damaged behind 0.6 s")
        return real(path, samples, **how)

    monkeypatch.setattr(media_source, "read_samples", broken)
    source = MediaSource(bad_collection, VIEWS)
    rows = torch.arange(len(source))
    alone = window_by_window(source, rows, 3, 5)
    same(extract.read_windows(source, rows, 3, 5), alone)
    assert alone[2].replaced and alone[0].present["video"][alone[2].replaced[0][0]]

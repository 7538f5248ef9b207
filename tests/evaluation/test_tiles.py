"""What the tiles of a page show and play, and what the page says of that."""

import pytest
import torch

from coview.data.dataset_source import DatasetSource
from coview.data.index import index_source
from coview.data.open import open_source
from coview.data.part import Part
from coview.data.shuffle import ShuffledPairs
from coview.data.source import as_given, excerpt
from coview.data.synthetic.digits import DigitsWorld
from coview.data.views import AudioView, VideoView
from coview.errors import MediaError
from coview.evaluation.tiles import SECONDS, SIDE, Clips
from coview.media.encode import write_clip
from coview.media.excerpt import read_excerpt

VIEWS = {"video": VideoView(frames=2, fps=4, size=32), "audio": AudioView(seconds=0.5, sample_rate=16000)}


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A film of 1 s, one of 5 s, a sound of 5 s, and a photo."""
    folder = tmp_path_factory.mktemp("films")
    tone = torch.sin(torch.arange(5 * 22050) / 20)
    frames = torch.randint(0, 255, (3, 10, 48, 64), dtype=torch.uint8)
    write_clip(folder / "a.mp4", frames, 10, tone[:22050], 22050)
    write_clip(folder / "b.mp4", frames.repeat(1, 5, 1, 1), 10, tone, 22050)
    write_clip(folder / "c.m4a", None, None, tone, 22050)
    index_source(str(folder), folder / "made", workers=0)
    return folder


def test_an_excerpt_has_the_film_s_own_rates_and_size(films):
    piece = read_excerpt(films / "b.mp4", 0, 5, 3, 160)
    assert piece.frames.shape == (3, 30, 48, 48) and piece.fps == 10
    assert piece.waveform.shape == (3 * 22050,) and piece.rate == 22050
    assert (piece.seconds, piece.whole) == (3, 5)
    assert read_excerpt(films / "b.mp4", 0, 5, 3, 30).frames.shape[-1] == 30


def test_tiles_play_the_recording_and_say_how_much_of_it(films):
    clips = Clips(open_source(str(films / "made"), VIEWS), 10**7)
    short, long, sound = map(clips.get, range(3))
    assert (short.length, long.length) == ("", f"{SECONDS:.1f} of 5.0 s")
    assert short.picture and not sound.picture and sound.still.startswith("data:image/jpeg")
    assert clips.get(0) is short and sorted(clips.media) == ["0", "1", "2"]
    assert clips.played == [
        "A tile plays the recording, or the 3 seconds in the middle of a recording that is longer.",
        f"Of a picture the square in the middle is shown, at most {SIDE} pixels wide.",
        "A recording without a picture shows its spectrogram: time to the right, frequency upwards (mel).",
    ]


def test_sound_of_a_rate_that_no_film_has_is_heard():
    view = AudioView(seconds=0.5, sample_rate=10000)
    tone = torch.sin(torch.arange(view.room(1).shape[1]) / 9)
    clips = Clips(DatasetSource([{"audio": tone}], {"audio": view}), 10**7)
    assert clips.get(0).key == "0" and clips.media["0"].startswith("data:video/mp4")


def test_what_no_longer_fits_is_shown_still(films):
    clips = Clips(open_source(str(films / "made"), VIEWS), 1)
    assert clips.get(0).key == "0" and clips.full
    assert clips.get(1).key == "" and clips.get(1).still
    assert clips.played[-1] == "Further recordings are shown and do not play, so that the page stays small."


def test_a_part_shows_its_own_recordings_and_other_sources_what_the_model_is_given(films):
    world = DigitsWorld("A", "test", 6)
    whole, part = excerpt(world, 4, 3, 160), excerpt(Part(world, torch.tensor([1, 4])), 1, 3, 160)
    assert torch.equal(whole.frames, part.frames) and whole.frames.shape == (3, 8, 32, 32)
    assert (whole.seconds, whole.whole) == (1, 1)
    given = excerpt(ShuffledPairs(world, 0), 0, 3, 160)
    assert given.whole is None and torch.equal(given.frames, as_given(world, 0).frames)
    clips = Clips(ShuffledPairs(world, 0), 10**6)
    clips.get(0)
    assert clips.played[0].startswith("A tile plays what the model is given")


def test_what_cannot_be_read_has_no_tile(films, monkeypatch):
    def gone(*_):
        raise MediaError("a.mp4", "gone", "it is gone")

    monkeypatch.setattr("coview.evaluation.tiles.excerpt", gone)
    clips = Clips(DigitsWorld("A", "test", 6), 10**6)
    assert (clips.get(0).key, clips.get(0).still, clips.played) == ("", "", [])

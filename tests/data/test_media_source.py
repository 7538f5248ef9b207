import math

import pytest
import torch
from bad_media import write

from coview.data.index import index_source
from coview.data.media_source import MediaSource
from coview.data.source import sample_keys
from coview.data.views import AudioView, VideoView
from coview.errors import DataProblemsError, UsageError

VIDEO = VideoView(frames=4, fps=16, size=16, margin=1.0)
AUDIO = AudioView(seconds=1.0, sample_rate=8000, mels=16)


def keys(count, seed=0):
    return sample_keys(seed, 0, torch.arange(count))


def read(source, row, count, seed=0):
    return source.read(torch.full((count,), row), keys(count, seed))


def row_of(source, name):
    return source.ids.index(name)


@pytest.fixture(scope="module")
def source(bad_collection):
    return MediaSource(bad_collection, {"video": VIDEO, "audio": AUDIO})


def test_samples_have_the_shapes_of_their_views_and_depend_on_their_key_alone(source):
    rows = torch.arange(len(source))
    batch = source.read(rows, keys(len(source)))
    assert batch.views["video"].shape == (15, 3, 4, 16, 16) and batch.views["video"].dtype == torch.uint8
    assert batch.views["audio"].shape == (15, 8000) and batch.views["audio"].dtype == torch.float32
    assert not batch.replaced
    part = source.read(rows[4:7], keys(len(source))[4:7])
    assert part.views["video"].equal(batch.views["video"][4:7])
    assert part.views["audio"].equal(batch.views["audio"][4:7])
    assert not read(source, 0, 2).views["audio"][0].equal(read(source, 0, 2).views["audio"][1])


def test_what_is_missing_or_silent_is_absent_and_the_rest_is_not_zero(source):
    batch = source.read(torch.arange(len(source)), keys(len(source)))
    without = {source.ids[row] for row in torch.nonzero(~batch.present["audio"])[:, 0].tolist()}
    assert without == {"silent.mp4", "no-sound.mp4"}
    blind = {source.ids[row] for row in torch.nonzero(~batch.present["video"])[:, 0].tolist()}
    assert blind == {"no-picture.wav", "five-kilohertz.wav"}
    assert (batch.views["audio"][batch.present["audio"]].abs().amax(1) > 0.1).all()
    assert batch.views["video"][batch.present["video"]].flatten(1).any(1).all()


@pytest.mark.slow
def test_a_longer_sound_is_uniform_and_the_picture_stays_within_half_a_second_of_it(source):
    row = row_of(source, "fast.mp4")  # four seconds
    starts = read(source, row, 300).start
    sound, image = starts["audio"], starts["video"]
    assert 0 <= sound.min() < 0.1 and 2.8 < sound.max() <= 3.05
    assert sound.mean() == pytest.approx(1.5, abs=0.2)
    assert (image >= (sound - 0.5).clamp(min=0) - 1e-9).all()
    assert (image <= (sound + 1 + 0.5 - VIDEO.seconds).clamp(max=4.05 - VIDEO.seconds) + 1e-9).all()
    inside = (sound > 0.6) & (sound < 2.4)
    share = (image - sound + 0.5)[inside] / (2 * 0.5 + 1 - VIDEO.seconds)
    assert share.min() < 0.05 and share.max() > 0.95 and share.mean() == pytest.approx(0.5, abs=0.08)


def test_a_longer_picture_swaps_the_roles(bad_collection):
    source = MediaSource(bad_collection, {"video": VideoView(frames=32, size=16), "audio": AudioView(seconds=0.5)}, 0.2)
    starts = read(source, row_of(source, "fast.mp4"), 100).start
    assert (starts["audio"] >= starts["video"] - 0.2 - 1e-9).all()
    assert (starts["audio"] <= starts["video"] + 2 + 0.2 - 0.5 + 1e-9).all()


def test_picture_and_sound_correspond(tmp_path):
    """A frame's number is its blue value, and the tone's pitch rises with time: both must tell the same second."""
    time = torch.arange(4 * 16000) / 16000
    sound = (0.5 * torch.sin(2 * math.pi * (300 + 100 * time) * time)).numpy()[None]
    folder = tmp_path / "in"
    folder.mkdir()
    write(str(folder / "a.mp4"), seconds=4, sound=sound, rate=16000, layout="mono", options={"movflags": "faststart"})
    collection = index_source(str(folder), tmp_path / "c", workers=0)
    views = {"video": VideoView(frames=1, fps=25, size=16, margin=1.0), "audio": AudioView(seconds=0.25, n_fft=512)}
    batch = read(MediaSource(collection, views), 0, 12)
    for index in range(12):
        frame = float(batch.views["video"][index, 2].float().mean()) / 2
        assert frame / 25 == pytest.approx(float(batch.start["video"][index]), abs=0.08)
        spectrum = torch.fft.rfft(batch.views["audio"][index] * torch.hann_window(4000), 16000).abs()
        middle = float(batch.start["audio"][index]) + 0.125
        assert int(spectrum.argmax()) == pytest.approx(300 + 200 * middle, abs=15)


def test_a_later_picture_follows_the_first_by_its_delay(bad_collection):
    views = {"video": VIDEO, "video_later": VideoView(frames=4, size=16, margin=1.0, after=(1.0, 2.0))}
    source = MediaSource(bad_collection, views)
    starts = read(source, row_of(source, "fast.mp4"), 200).start
    delay = starts["video_later"] - starts["video"]
    assert delay.min() >= 1 - 1e-9 and delay.max() <= 2 + 1e-9
    assert delay.mean() == pytest.approx(1.5, abs=0.1)
    assert starts["video"].min() < 0.1 and starts["video_later"].max() <= 4.05 - 0.25
    short = MediaSource(bad_collection, {**views, "video_later": VideoView(frames=4, size=16, after=(5.0, 8.0))})
    starts = read(short, row_of(short, "fast.mp4"), 5).start
    assert (starts["video_later"] <= 4.05 - 0.25).all() and (starts["video"] <= 0.1).all()


def test_recordings_shorter_than_a_view_are_padded_and_marked(bad_collection):
    source = MediaSource(bad_collection, {"video": VideoView(frames=48, size=16), "audio": AudioView(seconds=3.0)})
    row = row_of(source, "good.mp4")
    assert source.short["video"][row] and source.short["audio"][row]
    assert not source.short["audio"][row_of(source, "fast.mp4")]
    batch = read(source, row, 1)
    frames, sound = batch.views["video"][0], batch.views["audio"][0]
    assert batch.start["video"][0] == 0 and frames[:, -1].equal(frames[:, 40]) and not frames[:, 0].equal(frames[:, 20])
    assert sound[: int(1.9 * 16000)].abs().max() > 0.1 and not sound[int(2.2 * 16000) :].any()


def test_a_failing_sample_is_replaced_by_its_key_alone_and_listed(bad_folder, bad_collection, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("good.mp4", "fast.mp4", "late.mp4", "uneven.mp4"):
        (folder / name).write_bytes((bad_folder[0] / name).read_bytes())
    source = MediaSource(index_source(str(folder), tmp_path / "c", workers=0), {"video": VIDEO, "audio": AUDIO})
    before = source.read(torch.arange(4), keys(4))
    bad = row_of(source, "late.mp4")
    (folder / "late.mp4").write_bytes(b"gone" * 100)
    batch = source.read(torch.arange(4), keys(4))
    assert {row for row, _ in batch.replaced} == {bad} and batch.replaced[0][1].startswith("changed: ")
    assert batch.row[bad] != bad and batch.present["audio"].all()
    kept = [row for row in range(4) if row != bad]
    assert batch.row[kept].tolist() == kept and batch.views["audio"][kept].equal(before.views["audio"][kept])
    alone = source.read(torch.tensor([bad]), keys(4)[bad : bad + 1])
    assert alone.row[0] == batch.row[bad] and alone.views["audio"][0].equal(batch.views["audio"][bad])

    windows = source.read_window(torch.arange(4), 0, 2)
    assert windows.row.tolist() == [0, 1, 2, 3] and [row for row, _ in windows.replaced] == [bad]
    assert windows.present["audio"].tolist() == [row != bad for row in range(4)]
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(DataProblemsError, match="8 recordings in a row"):
        source.read(torch.tensor([0]), keys(1))


def test_windows_are_evenly_spaced_as_the_protocol_says(bad_collection):
    source = MediaSource(bad_collection, {"video": VIDEO, "audio": AUDIO})
    row = torch.tensor([row_of(source, "fast.mp4")])
    starts = [source.read_window(row, k, 5).start for k in range(5)]
    frames = [float(s["video"]) * 16 for s in starts]
    assert frames == pytest.approx([0, 15, 30, 45, 60])  # floor(linspace(0, 64 - 4, 5))
    assert float(starts[0]["audio"]) < 0.05 and float(starts[4]["audio"]) == pytest.approx(3.0, abs=0.1)
    middle = source.read_window(row, 0, 1).start
    assert float(middle["video"]) == pytest.approx(30 / 16) and source.windows(7) == 7


def test_spans_hold_the_cuts(bad_folder, tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"path,start,end\n{bad_folder[0] / 'fast.mp4'},1.0,2.5\n{bad_folder[0] / 'fast.mp4'},2.5,4\n")
    source = MediaSource(index_source(str(manifest), tmp_path / "c", workers=0), {"video": VIDEO, "audio": AUDIO})
    starts = read(source, 0, 50).start
    for name, view in source.views.items():
        assert starts[name].min() >= 1.0 and starts[name].max() <= 2.5 - view.seconds


def test_recordings_without_any_of_the_views_are_left_out(bad_collection):
    source = MediaSource(bad_collection, {"audio": AUDIO})
    assert source.left_out == 2 and "silent.mp4" not in source.ids
    assert source.read(torch.arange(len(source)), keys(len(source))).present["audio"].all()


def test_nothing_to_cut_is_an_error(bad_folder, tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.write_text(f"path\n{bad_folder[0] / 'no-sound.mp4'}\n")
    collection = index_source(str(manifest), tmp_path / "c", workers=0)
    with pytest.raises(UsageError, match="none of its 1 recordings has audio"):
        MediaSource(collection, {"audio": AUDIO})

import dataclasses
import json
import pickle

import pytest
import torch
from numbers_source import VIEWS, Numbers

from coview.data.memmap import MemmapSource, fill
from coview.data.source import sample_keys
from coview.data.views import AudioView, VideoView
from coview.errors import DataProblemsError, UsageError
from coview.media.waveform import to_float, to_int16


def test_int16_comes_back_exactly():
    every = torch.arange(-32767, 32768, dtype=torch.int16)
    assert to_int16(to_float(every)).equal(every)
    assert to_int16(torch.tensor([1.0, -1.0, 1.5, 0.0])).tolist() == [32767, -32767, 32767, 0]


def test_stored_cuts_are_the_source_s(tmp_path):
    source = Numbers(300)
    stored = MemmapSource(fill(source, tmp_path / "m", cuts=2, seed=5))
    assert stored.ids == source.ids and stored.labels.equal(source.labels) and stored.classes == source.classes
    assert stored.views == source.views and stored.windows(10) == 2
    row = torch.tensor([7, 299, 7, 0])
    for cut in range(2):
        expected = source.read(row, sample_keys(5, 0, row + 300 * cut))
        found = stored.read_window(row, cut, 2)
        assert found.views["video"].equal(expected.views["video"])
        assert (found.views["audio"] - expected.views["audio"]).abs().max() <= 0.5 / 32767 + 1e-7
        assert found.start["audio"].equal(expected.start["audio"]) and found.present["audio"].all()
    picked = stored.read(torch.zeros(50, dtype=torch.int64), sample_keys(0, 0, torch.arange(50)))
    assert len({tuple(sound[:4].tolist()) for sound in picked.views["audio"]}) == 2


def test_a_stopped_filling_goes_on(tmp_path):
    def stop(done, total):
        if done >= 128:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(Numbers(300), tmp_path / "m", progress=stop)
    assert not (tmp_path / "m").exists()
    with pytest.raises(UsageError, match="something else"):
        fill(Numbers(300), tmp_path / "m", cuts=2)
    seen = []
    fill(Numbers(300), tmp_path / "m", progress=lambda done, total: seen.append(done))
    assert seen == [256, 300]
    fill(Numbers(300), tmp_path / "whole")
    for name in ("video.npy", "audio.npy", "cuts.parquet", "memmap.json"):
        assert (tmp_path / "m" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_even_windows_and_a_worker_s_copy(tmp_path):
    stored = MemmapSource(fill(Numbers(20), tmp_path / "m", cuts=5, placing="even"))
    source = Numbers(20)
    row = torch.arange(20)
    for window, cut in enumerate((0, 2, 4)):
        found = stored.read_window(row, window, 3).views["audio"]
        assert (found - source.read_window(row, cut, 5).views["audio"]).abs().max() < 1e-4
    size = len(pickle.dumps(stored))
    stored.read(row, row)
    assert len(pickle.dumps(stored)) == size < 20_000
    assert pickle.loads(pickle.dumps(stored)).read_window(row, 0, 1).row.equal(row)


def test_unreadable_recordings_are_not_replaced_in_a_store(tmp_path):
    with pytest.raises(DataProblemsError, match="n003: damaged"):
        fill(Numbers(20, bad=[3]), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_views_must_be_what_was_stored(tmp_path):
    folder = fill(Numbers(4), tmp_path / "m")
    other = {"audio": dataclasses.replace(VIEWS["audio"], mels=40, hop=100)}
    assert set(MemmapSource(folder, other).read(torch.arange(2), torch.arange(2)).views) == {"audio"}
    with pytest.raises(UsageError, match="'samples': 8000"):
        MemmapSource(folder, {"audio": AudioView(seconds=2.0, sample_rate=8000)})
    with pytest.raises(UsageError, match="no view 'video_later'"):
        MemmapSource(folder, {"video_later": VideoView()})
    with pytest.raises(UsageError, match="not a memory-mapped set"):
        MemmapSource(tmp_path)
    with pytest.raises(UsageError, match="already exists"):
        fill(Numbers(4), folder)


def test_what_all_cuts_have_alike_is_stored_once(tmp_path):
    folders = [fill(Numbers(150), tmp_path / name, cuts=2, once=once) for name, once in (("a", ()), ("b", ["video"]))]
    twice, once = (MemmapSource(folder) for folder in folders)
    sizes = [(folder / "video.npy").stat().st_size for folder in folders]
    assert sizes[0] - sizes[1] == 150 * 3 * 4 * 16 * 16
    row = torch.arange(150)
    key = sample_keys(1, 0, row)
    for name in VIEWS:
        assert once.read(row, key).views[name].equal(twice.read(row, key).views[name])
        assert once.read_window(row, 1, 2).views[name].equal(twice.read_window(row, 1, 2).views[name])
    with pytest.raises(UsageError, match="cuts of 'audio' differ"):
        fill(Numbers(150), tmp_path / "c", cuts=2, once=["audio"])


def test_a_fingerprint_covers_all_that_is_stored(tmp_path):
    class Louder(Numbers):
        def read(self, row, key):
            batch = super().read(row, key)
            batch.views["audio"] = batch.views["audio"] * 0.5
            return batch

    sets = [{"cuts": 1}, {"cuts": 2}, {"cuts": 2, "seed": 1}, {"cuts": 2, "placing": "even"}]
    found = [MemmapSource(fill(Numbers(8), tmp_path / f"{k}", **how)).fingerprint for k, how in enumerate(sets)]
    found.append(MemmapSource(fill(Louder(8), tmp_path / "louder")).fingerprint)
    assert len({*found, Numbers(8).fingerprint}) == 6
    assert MemmapSource(fill(Numbers(8), tmp_path / "again")).fingerprint == found[0]
    card = json.loads((tmp_path / "0" / "memmap.json").read_text(encoding="utf-8"))
    del card["digests"]  # as before
    (tmp_path / "0" / "memmap.json").write_text(json.dumps(card), encoding="utf-8")
    assert MemmapSource(tmp_path / "0").fingerprint == Numbers(8).fingerprint


@pytest.mark.parametrize("field", ["format", "views", "cuts", "recordings", "classes", "fingerprint"])
@pytest.mark.parametrize("value", [None, -1, 10**12, "x", [], {}])
def test_a_damaged_card_is_refused_by_name(tmp_path, field, value):
    folder = fill(Numbers(4), tmp_path / "m")
    card = json.loads((folder / "memmap.json").read_text(encoding="utf-8"))
    (folder / "memmap.json").write_text(json.dumps(card | {field: value}), encoding="utf-8")
    if (field, value) == ("fingerprint", "x"):
        return
    with pytest.raises(UsageError, match=str(folder)):
        MemmapSource(folder)


@pytest.mark.parametrize("name", ["audio.npy", "video.npy", "cuts.parquet", "memmap.json"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00\xff\xff", None])
def test_damaged_arrays_are_refused_by_name(tmp_path, name, content):
    folder = fill(Numbers(4), tmp_path / "m")
    path = folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    with pytest.raises(UsageError, match=name.replace(".", "[.]")):
        MemmapSource(folder)

import itertools
import os
import re
import signal
import sys
import textwrap
import time

import interrupts
import pytest
import torch
from numbers_source import VIEWS, Numbers

from coview.data.loader import Loader, _say_unless_cut
from coview.data.media_source import MediaSource
from coview.data.source import sample_keys
from coview.errors import CoviewError, UsageError


def same(one, other):
    assert one.epoch == other.epoch and one.replaced == other.replaced
    for name in ("row", "key", "label"):
        assert getattr(one, name).equal(getattr(other, name))
    for field in ("views", "start", "present"):
        for name, tensor in getattr(one, field).items():
            assert tensor.cpu().equal(getattr(other, field)[name].cpu())


def take(loader, count, first=0):
    return list(itertools.islice(loader.stream(first), count))


def test_an_epoch_reads_every_recording_and_the_next_in_another_order():
    loader = Loader(Numbers(40), batch_size=8, seed=0)
    assert loader.steps_per_epoch == 5
    batches = take(loader, 10)
    assert [batch.epoch for batch in batches] == [0] * 5 + [1] * 5
    first, second = (torch.cat([b.row for b in part]) for part in (batches[:5], batches[5:]))
    assert first.sort().values.equal(torch.arange(40)) and second.sort().values.equal(torch.arange(40))
    assert not first.equal(second)


def test_it_continues_at_any_step():
    whole = take(Loader(Numbers(10), batch_size=4, seed=1, clips_per_recording=3), 20)
    for first in (1, 6, 7, 13):
        for one, other in zip(take(Loader(Numbers(10), batch_size=4, seed=1, clips_per_recording=3), 3, first),
                              whole[first:], strict=False):  # fmt: skip
            same(one, other)


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_the_global_batch(world):
    whole = take(Loader(Numbers(), batch_size=8, seed=2), 6)
    parts = [take(Loader(Numbers(), batch_size=8, seed=2, rank=r, world=world), 6) for r in range(world)]
    for step, batch in enumerate(whole):
        for name in ("row", "key"):
            assert torch.cat([getattr(part[step], name) for part in parts]).equal(getattr(batch, name))
        assert torch.cat([part[step].views["audio"] for part in parts]).equal(batch.views["audio"])


def test_ranks_share_a_batch_of_recordings_that_are_drawn_by_their_chances():
    def loader(**changes):
        made = Loader(Numbers(), batch_size=8, seed=2, clips_per_recording=2, **changes)
        made.weigh((torch.arange(len(Numbers())) % 3 == 0).double())
        return made

    whole = take(loader(), 4)
    assert all((batch.row % 3 == 0).all() for batch in whole)
    other = loader()
    other.weigh((torch.arange(len(Numbers())) % 3 == 1).double())  # the last word counts
    assert all((batch.row % 3 == 1).all() for batch in take(other, 4))
    parts = [take(loader(rank=r, world=2), 4) for r in range(2)]
    for step, batch in enumerate(whole):
        assert torch.cat([part[step].row for part in parts]).equal(batch.row)
        same(batch, take(loader(), 1, step)[0])


def test_reading_processes_change_nothing(bad_collection):
    source = MediaSource(bad_collection, VIEWS)
    expected = take(Loader(source, batch_size=6, seed=0), 5, first=1)
    for one, other in zip(take(Loader(source, batch_size=6, seed=0, workers=2), 5, first=1), expected, strict=True):
        same(one, other)


class Counted(MediaSource):
    """Counts the calls of `read` that it gets in this process."""

    calls = 0

    def read(self, row, key):
        type(self).calls += 1
        return super().read(row, key)


def alone(source, loader, step):
    """Return the samples of a step, each read alone."""
    steps = loader._steps
    position = torch.arange(loader.batch_size) + step % loader.steps_per_epoch * loader.batch_size
    epoch = step // loader.steps_per_epoch
    row = steps.order.rows_of(position, steps.seed, epoch)
    keys = sample_keys(steps.seed, epoch, position)
    return [source.read(one[None], key[None]) for one, key in zip(row, keys, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2])
def test_clips_of_a_recording_are_read_together_and_are_what_they_are_alone(bad_collection, world):
    source = Counted(bad_collection, VIEWS)
    size, clips = 4, 5
    loaders = [
        Loader(source, batch_size=size, seed=0, rank=rank, world=world, clips_per_recording=clips)
        for rank in range(world)
    ]
    Counted.calls = 0
    count = loaders[0].steps_per_epoch + 3
    parts = [take(loader, count) for loader in loaders]
    assert not any(batch.replaced for part in parts for batch in part)
    assert Counted.calls == 2 * world  # an epoch is one window here
    for step in range(count):
        single = alone(source, loaders[0], step)
        for name in ("row", "key", "label", "mirrorable"):
            joined = torch.cat([getattr(part[step], name) for part in parts])
            assert torch.cat([getattr(one, name) for one in single]).equal(joined)
        for field in ("views", "start", "present"):
            for name in VIEWS:
                joined = torch.cat([getattr(part[step], field)[name] for part in parts])
                assert torch.cat([getattr(one, field)[name] for one in single]).equal(joined)
        assert [r for one in single for r in one.replaced] == [r for part in parts for r in part[step].replaced]


@pytest.mark.slow
def test_a_run_goes_on_in_the_middle_of_what_is_read_together(bad_collection):
    source = MediaSource(bad_collection, VIEWS)
    loader = Loader(source, batch_size=4, seed=0, clips_per_recording=5)
    whole = take(loader, 9)
    for first in (1, 4, 7):
        for workers in (0, 1) if first == 4 else (0,):
            later = Loader(source, batch_size=4, seed=0, clips_per_recording=5, workers=workers)
            for one, other in zip(take(later, 2, first), whole[first:], strict=False):
                same(one, other)


def test_what_is_read_together_fits_in_memory(monkeypatch, bad_collection):
    source = MediaSource(bad_collection, VIEWS)
    sample = 3 * 4 * 16 * 16 + 4 * 8000
    for room, lengths in ((3 * 4 * 5, [18, 18]), (3 * 4 * 5 - 1, [1, 1])):  # reads of all three batches, five laps
        monkeypatch.setattr("coview.data.loader._TOGETHER_BYTES", room * sample)
        loader = Loader(source, batch_size=4, seed=0, clips_per_recording=5)
        together = list(itertools.islice(loader._steps.together(0), 2))
        assert [len(steps) for steps in together] == lengths


def test_what_was_replaced_travels_with_its_batch():
    batches = take(Loader(Numbers(400, bad=[3]), batch_size=20, seed=0), 40)
    assert [problem for batch in batches for problem in batch.replaced] == [(3, "damaged")] * 2


def test_wrong_sizes_are_refused():
    with pytest.raises(UsageError, match="larger than an epoch of 10 samples"):
        Loader(Numbers(10), batch_size=11, seed=0)
    with pytest.raises(UsageError, match="cut evenly into 3"):
        Loader(Numbers(10), batch_size=10, seed=0, world=3)


@pytest.mark.slow
def test_an_interrupt_ends_the_workers_in_silence(bad_collection, tmp_path):
    script = tmp_path / "endless.py"
    script.write_text(
        textwrap.dedent("""
            import sys
            from coview.data.collection import Collection
            from coview.data.loader import Loader
            from coview.data.media_source import MediaSource
            from coview.data.views import AudioView, VideoView

            if __name__ == "__main__":
                views = {"video": VideoView(frames=2, size=16), "audio": AudioView(seconds=0.5)}
                source = MediaSource(Collection.open(sys.argv[1]), views)
                try:
                    for batch in Loader(source, batch_size=4, seed=0, workers=2).stream():
                        print("batch", flush=True)
                except KeyboardInterrupt:
                    sys.exit(130)
        """),
        encoding="utf-8",
    )
    command = [sys.executable, str(script), str(bad_collection.folder)]
    process = interrupts.start(command)
    for _ in range(5):
        process.stdout.readline()
    _, complaints = interrupts.stop(process)
    assert process.returncode == 130
    assert complaints == ""


def test_only_a_cut_connection_is_not_spoken_of(capsys):
    _say_unless_cut(BrokenPipeError, BrokenPipeError("the parent ended"), None)
    assert capsys.readouterr().err == ""
    _say_unless_cut(OSError, OSError("too many open files"), None)
    assert "too many open files" in capsys.readouterr().err


class Fragile(Numbers):
    """A source whose reading process ends, or waits, at its second batch: once (a file says so) or always."""

    def __init__(self, file, what, always=False):
        super().__init__(40)
        self.file, self.what, self.always, self.reads = file, what, always, 0

    def read(self, row, key):
        self.reads += 1
        if self.always or (self.reads == 2 and not self.file.exists()):
            self.file.touch()
            if self.what == "wait":
                time.sleep(60)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(row, key)


def test_a_killed_reading_process_is_named_and_started_again(tmp_path):
    said = []
    loader = Loader(Fragile(tmp_path / "died", "die"), batch_size=8, seed=0, workers=1, say=said.append)
    for one, other in zip(take(loader, 4), take(Loader(Numbers(40), batch_size=8, seed=0), 4), strict=True):
        same(one, other)
        assert one.step == other.step
    assert len(said) == 1 and re.search(r"step [01]: worker \(pid\(s\) \d+\) exited", said[0])


@pytest.mark.slow
def test_reading_processes_that_are_always_killed_or_wait_end_the_stream(tmp_path):
    always = Fragile(tmp_path / "d", "die", always=True)
    with pytest.raises(CoviewError, match="killed twice at step 0"):
        take(Loader(always, batch_size=8, seed=0, workers=1, say=lambda text: None), 1)
    loader = Loader(Fragile(tmp_path / "w", "wait"), batch_size=8, seed=0, workers=1, patience=10.0)
    with pytest.raises(CoviewError, match=r"no batch came for 10 s at step [01]"):
        take(loader, 3)

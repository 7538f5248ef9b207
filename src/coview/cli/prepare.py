"""`coview prepare`: decode a collection once, into shards or memory-mapped arrays that are read many times faster."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from coview.cli.following import training_on_copy
from coview.cli.output import Output
from coview.cli.stored_films import stored_films
from coview.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from coview.data.collection import Collection

DESCRIPTION = """Decode a collection once, at training rate and size, into a copy that trains many times faster.

The copy is made of ordinary tar files in WebDataset naming (JPEG pictures, FLAC sound, JSON) with a Parquet offset
table. Every other command takes it in place of the collection. A finished shard is never made again: a stopped call
goes on where it was, and several machines may work on one folder (torchrun, srun). Small sets can become memory-mapped
arrays instead. What cannot be read is left out and listed, and the exit code is 3.

With --tracks a collection of another kind is made: what moves in films, followed for a second, as pairs of pictures
with their times and boxes. With --flow the same recordings get their optical flow beside them, as a film that views of
flow are cut from. Both need the extra `tracking` (OpenCV).

Examples:
  coview prepare my-collection -o my-shards
  coview prepare my-collection -o my-shards --size 224 --clips 3 --seconds 5
  coview prepare my-collection -o my-arrays --memmap --split train --frames 8 --clips 4
  srun coview prepare my-collection -o my-shards
  coview prepare my-films --tracks -o my-tracks
  coview prepare my-films --flow -o my-films-with-flow
  coview pretrain xid --collection my-shards -o my-run
  coview prepare --list
  coview prepare --remove all

The last two look at what runs on films have stored for later epochs and runs (coview pretrain --train.films).
"""


@dataclass(kw_only=True)
class Arguments:
    """What `coview prepare` is told."""

    collection: tyro.conf.Positional[Path]
    """The collection's folder."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the copy."""
    fps: float = 16.0
    """Pictures per second."""
    size: int = 112
    """Side in pixels of the views that will be cut."""
    margin: float = 1.15
    """Decoded side / side of the views: room for crops. 112 x 1.15 stores pictures with a short side of 128."""
    sample_rate: int = 16000
    """Of the sound, in Hz."""
    quality: int = 90
    """JPEG quality, 1 to 100."""
    seconds: float = 10.0
    """About how long a stored clip is; a recording up to 1.5 times as long stays whole."""
    clips: int | None = None
    """Clips stored of each recording, at most; all that it holds by default (with --memmap, one)."""
    recordings_per_shard: int = 100
    """Recordings in one tar."""
    split: Literal["train", "validation", "test"] | None = None
    """Only this part of the collection (--memmap; a copy in shards holds all parts)."""
    memmap: bool = False
    """Write memory-mapped arrays of ready cuts instead of shards."""
    frames: int = 8
    """Pictures in a cut (--memmap)."""
    sound_seconds: float = 2.0
    """Sound in a cut, in seconds (--memmap)."""
    seed: int = 0
    """Of where cuts are placed (--memmap)."""
    tracks: bool = False
    """Write a collection of tracks instead: patches of what moves, at their first and their last moment."""
    track_seconds: float = 1.0
    """From the first patch of a track to its last (--tracks)."""
    track_window: float = 0.5
    """Side of a patch, as a share of the film's short side (--tracks)."""
    flow: bool = False
    """Write a collection of the same recordings, films of their flow beside them, at --fps and --size x --margin."""
    executor: Literal["auto", "serial", "processes", "ranks", "ray"] = "auto"
    """Who does the work; auto: the ranks of torchrun or srun where there are several, else processes."""
    workers: int | None = None
    """Processes; one per core by default, 0 works in this one."""
    json: bool = False
    """Print the result as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Prepare, print what was made, and return 3 when something could not be read, else 0."""
    if {"--list", "--remove"} & {word.partition("=")[0] for word in argv}:
        return stored_films(argv)
    arguments = tyro.cli(Arguments, args=argv, prog="coview prepare", description=DESCRIPTION)
    if (arguments.tracks or arguments.flow) and (arguments.memmap or arguments.split):
        raise UsageError("--tracks and --flow make a collection of all films, in files; leave out --memmap and --split")
    if arguments.tracks and arguments.flow:
        raise UsageError("--tracks and --flow make two collections; ask for one at a time")
    if arguments.split and not arguments.memmap:
        raise UsageError("--split goes with --memmap; a copy in shards holds all parts, and `--split` chooses later")
    from coview.data.collection import Collection

    collection = Collection.open(arguments.collection)
    from coview.parallel import is_main  # with torch, once there is something to do

    out = Output(json=arguments.json, quiet=not is_main())
    try:
        if arguments.tracks:
            return _tracks(arguments, collection, out)
        if arguments.flow:
            return _flow(arguments, collection, out)
        return _memmap(arguments, collection, out) if arguments.memmap else _shards(arguments, collection, out)
    except ValueError as error:  # a settings dataclass refused its values
        raise SettingsError([str(error)]) from error
    except (KeyboardInterrupt, SystemExit):
        out.say("stopped; the same command goes on from here")
        raise


def _shards(arguments: Arguments, collection: Collection, out: Output) -> int:
    from coview.data.executors import choose_executor
    from coview.data.shards.layout import PrepareSettings
    from coview.data.shards.write import prepare
    from coview.data.views import VideoView

    settings = PrepareSettings(
        fps=arguments.fps,
        size=VideoView(size=arguments.size, margin=arguments.margin).decode_size,
        quality=arguments.quality,
        sample_rate=arguments.sample_rate,
        seconds=arguments.seconds,
        clips=arguments.clips,
        recordings_per_shard=arguments.recordings_per_shard,
    )
    executor = choose_executor(arguments.executor, arguments.workers)
    with out.steps() as show:
        card = prepare(
            collection, arguments.out, settings, executor, lambda done, total: show("preparing", done, total)
        )
    names = ("complete", "shards", "recordings", "clips", "hours", "bytes", "fingerprint")
    problems: dict[str, list[str]] = card.get("problems", {})
    result = {"shards_folder": str(arguments.out), **{name: card[name] for name in names if name in card}}
    if not card["complete"]:
        out.say("this process's shards are done; the process that ends last completes the copy")
    code = out.finish(result, [(name, "; ".join(reasons)) for name, reasons in problems.items()])
    if card["complete"]:
        stored = {"size": arguments.size, "margin": arguments.margin, "fps": arguments.fps}
        stored |= {"sample_rate": arguments.sample_rate}
        out.next(*training_on_copy(collection.about["counts"], arguments.out, stored))
    return code


def _memmap(arguments: Arguments, collection: Collection, out: Output) -> int:
    from coview.data.media_source import MediaSource
    from coview.data.memmap import MemmapSource, fill
    from coview.data.rows import COLUMNS
    from coview.data.timeline import Timelines
    from coview.data.views import AudioView, ImageView, VideoView, ViewSpec

    views: dict[str, ViewSpec] = {}
    part = collection.select(split=arguments.split)
    known = Timelines(part.columns(COLUMNS))  # what this part holds: another may hold what it lacks
    if known.has_video.any() and known.still[known.has_video].all():
        views["image"] = ImageView(size=arguments.size, margin=arguments.margin)
    elif known.has_video.any():
        views["video"] = VideoView(
            frames=arguments.frames, fps=arguments.fps, size=arguments.size, margin=arguments.margin
        )
    if known.has_audio.any():
        views["audio"] = AudioView(seconds=arguments.sound_seconds, sample_rate=arguments.sample_rate)
    source = MediaSource(part, views)
    with out.steps() as show:
        folder = fill(
            source,
            arguments.out,
            cuts=arguments.clips or 1,
            seed=arguments.seed,
            progress=lambda done, total: show("preparing", done, total),
        )
    made = MemmapSource(folder)
    size_on_disk = sum(path.stat().st_size for path in folder.iterdir())
    out.result({"memmap_folder": str(folder), "recordings": len(made), "cuts": made.cuts, "bytes": size_on_disk})
    stored = {name: value for view in views.values() for name, value in dataclasses.asdict(view).items()}
    told = ("size", "margin", "frames", "fps", "seconds", "sample_rate")
    held = {name: stored[name] for name in told if name in stored}
    out.next(*training_on_copy(collection.about["counts"], folder, held))
    return 0


def _tracks(arguments: Arguments, collection: Collection, out: Output) -> int:
    from coview.data.executors import choose_executor
    from coview.data.track_mining import mine_tracks
    from coview.media.track_finding import TrackSettings
    from coview.parallel import world_size

    if world_size() > 1:
        raise UsageError("--tracks is done by the processes of one computer: call it without torchrun and srun")
    settings = TrackSettings(seconds=arguments.track_seconds, window=arguments.track_window)
    executor = choose_executor(arguments.executor, arguments.workers)
    with out.steps() as show:
        made = mine_tracks(collection, arguments.out, settings, executor, arguments.workers, show)
    problems = [(row.path, f"{row.reason}: {row.message}") for row in made.quarantine()]
    return out.finish({"tracks_folder": str(arguments.out), **made.about["report"]}, problems)


def _flow(arguments: Arguments, collection: Collection, out: Output) -> int:
    from coview.data.executors import choose_executor
    from coview.data.flow_making import make_flow
    from coview.data.views import FlowView
    from coview.media.flow import FlowSettings
    from coview.parallel import world_size

    if world_size() > 1:
        raise UsageError("--flow is done by the processes of one computer: call it without torchrun and srun")
    settings = FlowSettings(fps=arguments.fps, side=FlowView(size=arguments.size, margin=arguments.margin).decode_size)
    executor = choose_executor(arguments.executor, arguments.workers)
    with out.steps() as show:
        made = make_flow(collection, arguments.out, settings, executor, arguments.workers, show)
    problems = [(row.path, f"{row.reason}: {row.message}") for row in made.quarantine()]
    return out.finish({"collection": str(arguments.out), **made.about["report"]}, problems)

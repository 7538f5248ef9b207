"""The procedural worlds as named data sets: `coview index digits-av:A -o ...` writes MP4 files and indexes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from coview.data.adapters import Item, Made, Options
from coview.data.synthetic import COUNTS, parse_world
from coview.data.synthetic.export import table_of, write_mp4
from coview.errors import UsageError


def make_digits(out: Path, options: Options) -> Made:
    """Render clips of `digits-av`; the variant is the level, "A" without one."""
    return _make("digits-av", out, options)


def make_objects(out: Path, options: Options) -> Made:
    """Render clips of `objects-av`; the variant names what picture and sound share, such as "object+action"."""
    return _make("objects-av", out, options)


def make_pushes(out: Path, options: Options) -> Made:
    """Render clips of `pushes`, with their actions and states; there are no variants."""
    return _make("pushes", out, options)


def _make(family: str, out: Path, options: Options) -> Made:
    """Render every split; a count is shared out among them like the world's usual numbers.

    Raises:
        UsageError: a folder was given, or the variant or count is not possible.
    """
    if options.folder is not None:
        raise UsageError(f"{family} makes its own files and reads none: leave out the folder {options.folder}")
    usual = COUNTS[family]
    counts = usual if options.count is None else _share(options.count, usual)
    total, done, items = sum(counts.values()), 0, []
    name = f"{family}:{options.variant}" if options.variant else family
    for split, count in counts.items():
        world = parse_world(name, split, count, options.seed)
        write_mp4(world, out / split, progress=_shifted(options.progress, done, total))
        items += [
            Item(
                path=(path := Path(split) / f"{clip}.mp4"),
                id=clip,
                label=world.classes[int(label)],
                split=split,
                group=clip,
                tracks={track: table_of(path, track) for track in world.tracks},
            )
            for clip, label in zip(world.ids, world.labels, strict=True)
        ]
        done += count
    return Made(items=items, root=out, report={"world": world.name, "seed": options.seed, "clips": dict(counts)})


def _shifted(progress: Callable[[int, int], None], before: int, total: int) -> Callable[[int, int], None]:
    return lambda done, _: progress(before + done, total)


def _share(count: int, usual: dict[str, int]) -> dict[str, int]:
    if count < len(usual):
        raise UsageError(f"a world needs at least {len(usual)} clips, one per split; found {count}")
    shares = {split: max(1, round(count * number / sum(usual.values()))) for split, number in usual.items()}
    return {**shares, "train": count - shares["validation"] - shares["test"]}

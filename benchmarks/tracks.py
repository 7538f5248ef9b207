"""What finding the tracks of films costs beside decoding them: CPU seconds of both, alternating, in one process.

    python benchmarks/tracks.py FILM [FILM ...] --rounds 5

Decoding is every frame of the film by the same decoder on one thread, nothing made of it. Finding tracks is all that
`coview prepare --tracks` does with a film but writing patches. Of every figure the least of the rounds counts.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from coview.media.container import open_media
from coview.media.frames import every_frame
from coview.media.pictures import Scaler
from coview.media.track_finding import Frame, TrackSettings, find_tracks
from coview.media.upright import displayed_size


def decode(film: Path) -> int:
    """Decode a film; returns the number of its frames."""
    with open_media(film) as media:
        return sum(1 for _ in every_frame(media))


def mine(film: Path) -> int:
    """Find the tracks of a film; returns their number."""
    settings = TrackSettings()

    def frames() -> Iterator[Frame]:
        with open_media(film) as media:
            small = Scaler(media, settings.side)
            for second, frame in every_frame(media):
                whole = Scaler(media, min(displayed_size(media, frame)))
                yield second, functools.partial(small, frame), functools.partial(whole, frame)

    return sum(1 for _ in find_tracks(frames(), settings, Counter()))


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("films", nargs="+", type=Path, metavar="FILM")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print("| film | frames | tracks | decoding, CPU-s | finding, CPU-s | times |\n|---|---|---|---|---|---|")
    for film in arguments.films:
        spent: dict[str, list[float]] = {"decode": [], "mine": []}
        made: dict[str, int] = {}
        for number in range(arguments.rounds):
            for work in (decode, mine) if number % 2 else (mine, decode):
                began = time.process_time()
                made[work.__name__] = work(film)
                spent[work.__name__].append(time.process_time() - began)
        alone, both = min(spent["decode"]), min(spent["mine"])
        row = (film.name, made["decode"], made["mine"], f"{alone:.2f}", f"{both:.2f}", f"{both / alone:.2f}")
        print("| " + " | ".join(map(str, row)) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

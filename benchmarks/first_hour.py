"""The first hour of two people who have never seen coview, played on made folders.

    python benchmarks/first_hour.py [-o FOLDER] [films mixed labelled photos sounds few-photos researcher]

The practitioner has a folder: five films, 62 mixed files of which some are damaged, 48 labelled films, photos, sounds,
or four photos. The folder is indexed, and from there on every command is the one that the step before has named behind
"Next:". The researcher has the labelled films and a shell, and measures a method beside its controls.

Prints what each step took and its last lines, to be read as a stranger would. Ends with 1 where a step ended with
another code than 0, or than 3 where files are damaged.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from coview.media.encode import write_clip

LINES = 14  # that are shown of each step
STEPS = 8  # of a practitioner, at most
RATE, FPS, SECONDS, SIDE = 16000, 16, 2, 64


def film(path: Path, kind: int, number: int, *, sound: bool = True, picture: bool = True) -> None:
    """Write a film of its kind: a colour that moves, and a tone; `number` makes each one of its own."""
    random = np.random.default_rng([kind, number])
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = tone = None
    if picture:
        pictures = np.stack([drawn(kind, random, shift) for shift in range(FPS * SECONDS)])
        frames = torch.from_numpy(pictures).permute(3, 0, 1, 2)
    if sound:
        time_ = np.arange(RATE * SECONDS) / RATE
        wave = np.sin(2 * np.pi * (200 * 1.4**kind + random.normal(0, 5)) * time_) * (0.3 + 0.2 * random.random())
        tone = torch.from_numpy((wave + random.normal(0, 0.02, wave.shape)).astype(np.float32))
    write_clip(path, frames, FPS if picture else None, tone, RATE if sound else None)


def drawn(kind: int, random: np.random.Generator, shift: int = 0) -> np.ndarray:
    """Return a picture (SIDE, SIDE, 3) uint8: a bright square in the colour of its kind on noise, moved by `shift`."""
    picture = random.integers(0, 90, (SIDE, SIDE, 3))
    colour = np.array([[230, 40, 40], [40, 220, 40], [60, 60, 240], [230, 220, 30], [220, 40, 220], [40, 220, 220]])
    at = (10 + 4 * kind + shift) % (SIDE - 20)
    picture[at : at + 20, at : at + 20] = colour[kind % 6] + random.integers(-20, 20, 3)
    return picture.clip(0, 255).astype(np.uint8)


def photo(path: Path, kind: int, number: int) -> None:
    """Write a photo of its kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(drawn(kind, np.random.default_rng([kind, number]), 3 * number)).save(path)


def films(folder: Path) -> None:
    """Five films."""
    for number in range(5):
        film(folder / f"film-{number}.mp4", number, number)


def labelled(folder: Path) -> None:
    """48 films in folders that name their classes."""
    for number in range(48):
        film(folder / "abcdef"[number % 6] / f"{number}.mp4", number % 6, number)


def mixed(folder: Path) -> None:
    """62 files: films with and without sound, sounds, photos, two damaged ones, and what is no recording."""
    labelled(folder)
    for number in range(4):
        film(folder / f"silent film {number}.mp4", number, 100 + number, sound=False)
        film(folder / f"sound-{number}.m4a", number, 200 + number, picture=False)
        photo(folder / "photos" / f"bild-ä-{number}.jpg", number, number)
    (folder / "cut off.mp4").write_bytes((folder / "a" / "0.mp4").read_bytes()[:700])
    (folder / "empty.mp4").touch()
    (folder / "notes.txt").write_text("what else lies in such folders\n")


def photos(folder: Path, count: int = 40) -> None:
    """Photos, as a camera names them."""
    for number in range(count):
        photo(folder / f"IMG_{number:03}.jpg", number % 6, number)


def sounds(folder: Path) -> None:
    """Thirty sounds."""
    for number in range(30):
        film(folder / f"{number}.m4a", number % 6, number, picture=False)


FOLDERS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "films": (films, []),
    "mixed": (mixed, ["--labels-from-folders"]),
    "labelled": (labelled, ["--labels-from-folders"]),
    "photos": (photos, []),
    "sounds": (sounds, []),
    "few-photos": (lambda folder: photos(folder, 4), []),
}
RESEARCHER = """
coview index my-folder -o my-collection --labels-from-folders
coview methods xid
coview pretrain xid --tiny --collection my-collection -o my-run --dry-run
coview pretrain xid --tiny --collection my-collection -o my-run --train.epochs 30
coview evaluate linear-probe --model my-run --collection my-collection --controls
coview evaluate few-shot --model my-run --collection my-collection --shots 2
coview compare xid av-vicreg --data my-collection --tiny --samples 300 --seeds 1 -o comparison
"""


def step(words: list[str], folder: Path) -> tuple[int, str]:
    """Run one command in a folder, print its time and last lines; return its code and the command behind "Next:"."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "coview", *words[1:]], cwd=folder, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    said = done.stdout.splitlines()
    print(f"\n$ {shlex.join(words)}\n[{time.perf_counter() - started:.1f} s, exit code {done.returncode}]")
    for line in [*(["..."] if len(said) > LINES else []), *said[-LINES:]]:
        print(f"  {line}")
    sys.stdout.flush()
    following = [line.removeprefix("Next: ") for line in said if line.startswith("Next: ")]
    return done.returncode, following[-1] if following else ""


def practitioner(name: str, folder: Path) -> list[str]:
    """Index a folder and follow what is said to come next; return the commands that ended badly."""
    make, options = FOLDERS[name]
    make(folder / "my-folder")
    words, played, wrong = ["coview", "index", "my-folder", "-o", "my-collection", *options], list[list[str]](), []
    while words and words not in played and len(played) < STEPS:
        played.append(words)
        code, following = step(words, folder)
        if code not in (0, 3 if name == "mixed" else 0):
            wrong.append(shlex.join(words))
        words = shlex.split(following)
    return wrong


def researcher(folder: Path) -> list[str]:
    """Play the commands above on the labelled films; return those that ended badly."""
    labelled(folder / "my-folder")
    lines = RESEARCHER.strip().splitlines()
    return [line for line in lines if step(shlex.split(line), folder)[0]]


def main() -> int:
    """Play everybody who is asked for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", nargs="*", default=[*FOLDERS, "researcher"])
    parser.add_argument("-o", "--out", type=Path, default=Path("out/first-hour"))
    asked = parser.parse_args()
    wrong = []
    for name in asked.people:
        started, folder = time.perf_counter(), asked.out / name
        folder.mkdir(parents=True)
        print(f"\n===== {name}")
        wrong += researcher(folder) if name == "researcher" else practitioner(name, folder)
        print(f"\n===== {name}: {time.perf_counter() - started:.0f} s")
    print("\n".join(["", f"{len(wrong)} steps ended badly", *wrong]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

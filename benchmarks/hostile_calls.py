"""What the sections of benchmarks/hostile.py share: a call of coview, what is wrong with its end, and small things."""

from __future__ import annotations

import contextlib
import io
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "hostile")]
SECONDS = 300  # for one call
Finding = tuple[str, str | None]  # what was tried; what went wrong


def call(*words: object) -> tuple[int, str, str]:
    """Run a command in this process; return its code, its results and its talk. A call that hangs is interrupted."""
    from coview.cli.main import main

    def late(*_: object) -> None:
        raise TimeoutError(f"no end after {SECONDS} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    out, talk = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(talk):
            try:
                code = main([str(word) for word in words])
            except SystemExit as left:
                code = left.code if isinstance(left.code, int) else 1
    finally:
        signal.alarm(0)
    return code, out.getvalue(), talk.getvalue()


def wrong(code: int, out: str, talk: str, codes: tuple[int, ...] = (0, 1, 2, 3)) -> str | None:
    """Say what is wrong with how a command ended, if anything is."""
    if code not in codes:
        return f"exit code {code}: {talk[-300:]}"
    for word in ("Traceback", "did not expect"):
        if word in talk:
            return talk[talk.index(word) - 100 if word != "Traceback" else talk.index(word) :][:400]
    if any((ord(letter) < 32 and letter not in "\n\t") or 127 <= ord(letter) < 160 for letter in out + talk):
        return f"control characters: {(out + talk)!r}"[:300]
    return None


class Things:
    """Small files, a collection, a model and its embeddings, made once."""

    def __init__(self, folder: Path) -> None:
        import making
        import measured

        self.folder = folder
        self.media = folder / "media"
        if not (folder / "statistics.json").exists():
            self.media.mkdir(parents=True, exist_ok=True)
            for number in range(6):
                making.write(
                    self.media / f"{number}.mp4", picture_times=[k / 10 for k in range(20)],
                    pictures=making.noise_pictures(20, seed=number), rate=16000,
                    sound=making.tone(2, 16000, 220 + 60 * number),
                )  # fmt: skip
            measured.tiny_model().save(folder / "model")
            self.make(folder)

    def make(self, folder: Path) -> None:
        """Make everything that is damaged below."""
        for words in (
            ("index", self.media, "-o", folder / "collection", "--workers", "0"),
            ("prepare", folder / "collection", "-o", folder / "shards"),
            ("embed", "--model", folder / "model", "--collection", folder / "collection", "-o", folder / "embeddings"),
            ("stats", folder / "collection", "-o", folder / "statistics.json", "--tiny"),
        ):
            code, _, talk = call(*words)
            assert code == 0, talk

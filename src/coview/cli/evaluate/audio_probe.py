"""`coview evaluate audio-probe`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from coview.cli.evaluate.common import Case, Models, read, run_models

if TYPE_CHECKING:
    from coview.evaluation.bench import Result

DESCRIPTION = """Classify sounds by linear support vector machines on the stages of the frozen sound encoder.

--protocol esc50: ten random augmented clips of each training recording, ten test clips, C = 10; for ESC-50 with its
five official folds. --protocol dcase: sixty clips each, C = 1. The reported stage is chosen on training recordings.

Examples:
  coview evaluate audio-probe --model my-run --collection esc50 --folds 1 2 3 4 5 --controls
  coview evaluate audio-probe --model my-run --collection dcase2014 --protocol dcase
  coview evaluate audio-probe --model my-run --collection my-sounds --stages conv5x:mean:4x4 --C 1 --clips 5
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""

    protocol: Literal["esc50", "dcase"] = "esc50"
    """Whose numbers of clips and penalty."""
    view: str = "audio"
    """View whose encoder is probed."""
    stages: tuple[str, ...] = ("avid",)
    """Stages, as for linear-probe."""
    C: float | None = None
    """Another penalty."""
    clips: int | None = None
    """Another number of clips of each recording."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "audio-probe", DESCRIPTION, argv)

    def measure(case: Case) -> Result:
        from dataclasses import replace

        from coview.evaluation.audio_probe import DCASE, ESC50, audio_probe

        how = replace({"esc50": ESC50, "dcase": DCASE}[arguments.protocol], view=arguments.view)
        how = replace(how, stages=arguments.stages, C=arguments.C or how.C)
        if arguments.clips:
            how = replace(how, train_clips=arguments.clips, test_clips=arguments.clips)
        with case.bench() as bench:
            audio_probe(bench, how)
        return bench.result

    return run_models(arguments, ["audio-probe", *argv], measure)

"""`coview evaluate PROTOCOL`: measure a model by a protocol, beside its controls."""

from __future__ import annotations

import difflib
import importlib
import sys

from coview.errors import UsageError

# Protocol -> module of this package with a function `main(argv)`, and what it does.
PROTOCOLS = {
    "linear-probe": ("linear_probe", "a linear classifier on frozen features, of named stages too"),
    "knn": ("knn", "the vote of the nearest training recordings"),
    "zero-shot": ("zero_shot", "the nearest of the classes' names, for models of captions"),
    "base-novel": ("base_novel", "classes that were learnt from and others, by the vectors of names"),
    "words": ("words", "which words a model says of pictures, and what the words' vectors know"),
    "retrieval": ("retrieval", "from one view to another in all directions"),
    "extrapolation": ("extrapolation", "whether the next moment lies where the last two point"),
    "regression": ("regression", "numbers over time, such as valence, from frozen features"),
    "units": ("units", "what single units of a network look for: a page of pictures"),
    "few-shot": ("few_shot", "the linear probe on a few labels of every class"),
    "concepts": ("concepts", "classes whose concepts pretraining has seen, and unseen ones"),
    "audio-probe": ("audio_probe", "support vector machines on the sound encoder: ESC-50, DCASE"),
    "fine-tune": ("fine_tune", "the encoder learns the labels too; or a linear layer by gradient"),
    "image-transfer": ("image_transfer", "pictures: what a model is worth for other tasks, by --task"),
    "analysis": ("analysis", "what a model is worth beside another, and for the form of surfaces, by --task"),
    "supervised": ("supervised", "the ceiling: learnt from labels, stopped on validation recordings"),
    "prediction": ("prediction", "predicted pictures beside the last one shown, and without actions"),
    "study": ("study", "people: how often made colours were taken for real ones (coview paint --study)"),
    "gates": ("gates", "what a procedural world gives away without learning"),
}

HELP = """usage: coview evaluate PROTOCOL --model RUN --collection COLLECTION [options]

Measure a model. Every figure has its 95 % interval, its chance level and the number of test items. With several models,
which should be runs of one setting with other seeds, figures are means over them; with --folds, over official folds.
The result, with every choice that was made, is kept in the run, under evaluations/.

Protocols (coview evaluate PROTOCOL --help tells more):
{protocols}

Examples:
  coview evaluate linear-probe --model my-run --collection my-collection --controls
  coview evaluate retrieval --model run-0 run-1 run-2 --shuffled shuffled-run --collection my-collection
  coview evaluate fine-tune --model my-run --collection ucf101 --folds 1 2 3
  torchrun --nproc-per-node 8 -m coview evaluate linear-probe --model my-run --collection my-collection
"""


def main(argv: list[str]) -> int:
    """Run one protocol and return its exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        lines = [f"  {name:<14}{text}" for name, (_, text) in PROTOCOLS.items()]
        print(HELP.format(protocols="\n".join(lines)), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    name, rest = argv[0], argv[1:]
    if name not in PROTOCOLS:
        near = difflib.get_close_matches(name, PROTOCOLS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"the first word names the protocol; {name!r} is none{hint} Known: {', '.join(PROTOCOLS)}")
    return int(importlib.import_module(f"coview.cli.evaluate.{PROTOCOLS[name][0]}").main(rest))

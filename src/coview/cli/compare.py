"""`coview compare`: several methods under one budget, beside their controls, in one table and one figure."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from coview.cli.options import preset
from coview.cli.output import Output
from coview.cli.places import check_sources
from coview.errors import UsageError
from coview.files import read_yaml
from coview.methods import place_of

if TYPE_CHECKING:
    from coview.comparison.plan import Comparison
    from coview.comparison.table import Outcome

DESCRIPTION = """Train several methods on the same recordings, each with the same number of samples, and measure them
beside random weights, shuffled pairs and supervision: linear probes and retrieval, means over seeds with intervals.
A method can take part in several variants: what follows an @ is the variant's name. With --after, a run starts from
another's weights, and its samples come on top.

Writes compare.json, compare.md and compare.png into the folder, and keeps every run. A stopped call goes on where it
was when it is given again. Under torchrun or SLURM every process takes its share of the runs.

Examples:
  coview compare xid av-vicreg avid --data digits-av:A --tiny --preset digits -o comparison
  coview compare xid l3 --data my-collection --samples 500000 --seeds 3 --jobs 2 -o comparison
  coview compare avid avid@self avid@longer cma --data digits-av:A --tiny --preset digits --recordings 1250 \\
    --set avid@self.cross=0 avid@self.within=1 --after cma=avid avid@longer=avid \\
    --orders 'avid>avid@self' 'cma>avid@longer' -o comparison
  coview compare xid xdc --data objects-av --tiny --set '*.video_encoder=video-small' xid.variant=in-batch -o comparison
"""

_PLACES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(kw_only=True)
class Arguments:
    """What the command takes."""

    methods: tyro.conf.Positional[tuple[str, ...]]
    """Short names of methods."""
    data: str
    """Collection folder, memory-mapped set or world; a world is rendered once."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for the runs, the table and the figure."""
    samples: int = 60_000
    """Training samples of every run."""
    seeds: int = 3
    """Runs of each method."""
    shuffled_seeds: int = 1
    """Runs of each method on shuffled pairs."""
    supervised: bool = True
    """Also train supervised-av, a classifier for each view alone."""
    settings: Path | None = None
    """YAML with settings that all runs share (train, optimiser, schedule, augment), as in a run's settings.yaml."""
    preset: str = "xid"
    """Recipe of augmentation, where the settings file has none: xid, swav, digits or none."""
    tiny: bool = False
    """Use the methods' smallest settings, on the views of the world."""
    set: tuple[str, ...] = ()
    """METHOD.SETTING=VALUE changes a method's own settings, or its optimiser and schedule (cma.optimiser.lr=3e-4); *
    stands for every method that has the setting."""
    after: tuple[str, ...] = ("cma=avid",)
    """METHOD=START: it starts from the run of the same seed of START, where that takes part too."""
    orders: tuple[str, ...] = ()
    """UPPER>LOWER: print by how much one row surpasses another, with the interval of the difference."""
    recordings: int | None = None
    """Training clips of a world; fewer are seen more often, as methods with memories need. None: its usual number."""
    test_data: str | None = None
    """What is measured on, where it is no part of --data; memory-mapped sets, which are one part each, need it."""
    validate: bool = False
    """Measure on the validation part instead of the test part: for choosing settings."""
    jobs: int = 1
    """Runs at a time."""
    json: bool = False
    """Print the result as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = tyro.cli(Arguments, prog="coview compare", description=DESCRIPTION, args=argv)
    if arguments.jobs < 1:
        raise UsageError(f"--jobs {arguments.jobs}: expected at least 1")
    check_sources(arguments.data, arguments.test_data)
    for name in arguments.methods:
        place_of(name.partition("@")[0])
    from coview.comparison.plan import plan
    from coview.comparison.run import OUTCOME, perform, stored, stored_at
    from coview.data.executors import Processes

    rank, world = (int(os.environ.get(name) or default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    output = Output(json=arguments.json, quiet=rank != 0)
    tasks = plan(read(arguments), output.say, first=rank == 0)
    waiting = [task for task in tasks[rank::world] if stored(task) is None]
    output.say(f"{len(tasks)} runs, {sum(stored(task) is not None for task in tasks)} of them finished before")
    for name in _PLACES:  # each run is alone in its process
        os.environ.pop(name, None)
    os.environ.setdefault("OMP_NUM_THREADS", "1" if arguments.jobs > 1 else str(os.cpu_count()))
    with output.steps() as show:
        done = 0
        # Runs that start from others' weights come when all others of this process are finished.
        for late in (False, True):
            for text in Processes(arguments.jobs).run(perform, [task for task in waiting if bool(task.start) == late]):
                done += 1
                show("runs", done, len(waiting))
                output.say(text)
    folders = [Path(task.folder) for task in tasks]
    outcomes = [stored_at(folder) for folder in folders if (folder / OUTCOME).is_file()]
    if rank != 0 or len(outcomes) < len(tasks):
        output.say(f"{len(outcomes)} of {len(tasks)} runs are finished; the same command writes the table when all are")
        return 0
    code = report(arguments, outcomes, output)
    runs = [(folder / "run", task.test) for task, folder in zip(tasks, folders, strict=True) if task.kind == "pairs"]
    made = next(((run, test) for run, test in runs if (run / "model").is_dir()), None)  # some are not run
    if made is not None and code != 1:
        output.next("coview", "explain", "--model", made[0], "--collection", made[1])
    return code


def read(arguments: Arguments) -> Comparison:
    """Return what is compared."""
    from coview.comparison.plan import Comparison

    preset(arguments.preset)  # said at once, not by the first run
    return Comparison(
        methods=arguments.methods,
        data=arguments.data,
        out=arguments.out,
        samples=arguments.samples,
        seeds=arguments.seeds,
        shuffled_seeds=arguments.shuffled_seeds,
        supervised=arguments.supervised,
        shared=read_yaml(arguments.settings, "the settings that all runs share") if arguments.settings else {},
        preset=arguments.preset,
        tiny=arguments.tiny,
        changes=arguments.set,
        after=dict(split(text, "=", "--after METHOD=START") for text in arguments.after),
        test_data=arguments.test_data,
        validate=arguments.validate,
        recordings=arguments.recordings,
    )


def split(text: str, sign: str, form: str) -> tuple[str, str]:
    """Return the two sides of a sign; raises UsageError where one is missing."""
    left, _, right = text.partition(sign)
    if not left or not right:
        raise UsageError(f"{text}: expected {form}")
    return left, right


def report(arguments: Arguments, outcomes: list[Outcome], output: Output) -> int:
    """Write the table and the figure, print the result, and return the exit code."""
    from coview.comparison.figure import draw
    from coview.comparison.table import orders, orders_to_markdown, plain, said_of, summarise, to_markdown
    from coview.files import write_aside

    lines = summarise(outcomes)
    gains = orders(outcomes, [split(text, ">", "--orders UPPER>LOWER") for text in arguments.orders])
    said = said_of(lines)
    table = to_markdown(lines) + ("\n" + orders_to_markdown(gains) if gains else "")
    table += "".join(f"\n- {sentence}" for sentence in said) + ("\n" if said else "")
    notes = {line.row: line.note for line in lines if line.note}
    result = {"data": arguments.data, "samples": arguments.samples, "not_run": notes, "results": plain(lines)}
    result |= {"orders": [gain.row() for gain in gains], "verdict": said}
    problems = list(dict.fromkeys(problem for outcome in outcomes for problem in outcome.problems))
    write_aside(arguments.out / "compare.json", json.dumps(result, indent=1) + "\n")
    write_aside(arguments.out / "compare.md", table)
    draw(lines, outcomes, arguments.out / "compare.png")
    if not arguments.json:
        print(table, end="")
    code = output.finish(result if arguments.json else {}, problems)
    output.say(f"{arguments.out / 'compare.md'}, {arguments.out / 'compare.png'}")
    return 1 if any(line.failed for line in lines) else code

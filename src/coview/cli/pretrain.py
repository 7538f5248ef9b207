"""`coview pretrain METHOD`: train a method on a collection, without labels."""

from __future__ import annotations

import dataclasses
import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from coview.cli.output import Output
from coview.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from coview.data.source import Source
    from coview.data.views import ViewSpec
    from coview.training.settings import RunSettings

HELP = """usage: coview pretrain METHOD --collection COLLECTION -o RUN [options]
       coview pretrain --recipe RECIPE --collection COLLECTION -o RUN [options]

Train a method on a collection, a memory-mapped set or a world, without labels.

Methods (coview methods tells more; coview pretrain METHOD --help lists its settings):
{methods}

Recipes (published configurations, whole):
{recipes}

Examples:
  coview pretrain xid --collection my-collection -o my-run --train.epochs 50
  coview pretrain --recipe av_ssrl.xid --collection vggsound-50k -o my-run
  coview pretrain xid --collection digits-av:A --tiny -o my-run --train.steps 500
  coview pretrain xid --collection my-collection -o my-run --dry-run
  coview pretrain xid -o my-run --resume
  torchrun --nproc-per-node 8 -m coview pretrain xid --collection my-collection -o my-run
"""

EXAMPLES = """Train {method} on a collection, without labels. Every setting is stored in RUN/settings.yaml.

Examples:
  coview pretrain {method} --collection my-collection -o my-run
  coview pretrain {method} --settings my-run/settings.yaml -o another-run --optimiser.lr 0.001
  coview pretrain {method} -o my-run --resume
"""


@dataclass(kw_only=True)
class Arguments:
    """What the command takes beside the run's settings."""

    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The run's folder."""
    recipe: str | None = None
    """A published configuration to start from, such as av_ssrl.xid; other options change it."""
    settings: Path | None = None
    """A settings.yaml to start from, whole or in part; other options change it."""
    tiny: bool = False
    """Start from the method's smallest settings: small networks, for a CPU and for the procedural worlds."""
    preset: Literal["xid", "digits", "none"] | None = None
    """Start from a named recipe of augmentation."""
    dry_run: bool = False
    """Print the resolved settings, shapes, parameters, negatives and memory; train nothing."""
    resume: bool = False
    """Continue the run in its folder, or start it where there is none yet."""
    overwrite: bool = False
    """Remove the run that is in the folder."""
    init_from: Path | None = None
    """Start from the weights of another run or model."""
    json: bool = False
    """Print the result as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    from coview.methods import available
    from coview.recipes import RUNS

    names = sorted(available())
    if not argv or argv[0] in ("-h", "--help"):
        listed = {
            kind: "\n".join(f"  {name}" for name in some) for kind, some in (("methods", names), ("recipes", RUNS))
        }
        print(HELP.format(**listed), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    recipe = _before_options(argv).recipe
    if argv[0].startswith("-") and recipe:
        from coview.recipes import run_recipe

        argv = [run_recipe(recipe).method, *argv]
    method, rest = argv[0], argv[1:]
    if method not in names:
        near = difflib.get_close_matches(method, names, n=1)
        raise UsageError(
            f"the first word names the method; {method!r} is none"
            + (f"; did you mean {near[0]!r}?" if near else "")
            + f" Known: {', '.join(names)}"
        )
    arguments, settings = read(method, rest)
    return start(arguments, settings)


def start(arguments: Any, settings: RunSettings) -> int:
    """Train, or only say what would be trained; returns the exit code."""
    return _dry_run(arguments, settings) if arguments.dry_run else _train(arguments, settings)


def read(method: str, argv: list[str]) -> tuple[Any, RunSettings]:
    """Return the command's own arguments and the run's settings: files first, then options.

    Raises:
        SettingsError, UsageError: a file or an option is wrong.
    """
    from coview.data.augment import PRESETS
    from coview.methods import load_method
    from coview.recipes import run_recipe
    from coview.training.settings import RunSettings, load_run

    start = _before_options(argv)
    stored = start.out / "settings.yaml" if start.out else None
    if start.settings is not None and not start.settings.is_file():
        raise UsageError(f"{start.settings}: there is no such settings file")
    path = start.settings or (stored if start.resume and stored and stored.is_file() else None)
    kind = load_method(method).Settings
    if start.recipe and start.settings:
        raise UsageError("pass either --recipe or --settings; both say everything")
    base = RunSettings(method=method, method_settings=kind(), collection="")
    base = load_run(path) if path else run_recipe(start.recipe) if start.recipe else base
    if base.method != method:
        raise UsageError(f"{path or start.recipe}: its method is {base.method!r}, not {method!r}")
    if start.tiny:
        base = dataclasses.replace(base, method_settings=kind.tiny())
    if start.preset:
        base = dataclasses.replace(base, augment=PRESETS[start.preset])

    own = {field.name: getattr(base, field.name) for field in dataclasses.fields(RunSettings)}
    own["method"] = own.pop("method_settings")
    fields = [(name, _hint(name, value), dataclasses.field(default=value)) for name, value in own.items()]
    whole = dataclasses.make_dataclass("Arguments", fields, bases=(Arguments,), kw_only=True)
    try:
        arguments: Any = tyro.cli(
            whole,
            prog=f"coview pretrain {method}",
            description=EXAMPLES.format(method=method),
            args=argv,
            config=(tyro.conf.AvoidSubcommands,),
        )
    except ValueError as error:  # a settings dataclass refused its values
        raise SettingsError([str(error)]) from error
    values = {name: getattr(arguments, name) for name in own}
    settings = RunSettings(**{**values, "method": method, "method_settings": values["method"]})
    if not settings.collection:
        raise SettingsError(["collection: missing; --collection names a collection, a memory-mapped set or a world"])
    return arguments, settings


@dataclass
class _Start:
    out: Path | None = None
    settings: Path | None = None
    recipe: str | None = None
    preset: Literal["xid", "digits", "none"] | None = None
    resume: bool = False
    tiny: bool = False


def _before_options(argv: list[str]) -> _Start:
    """Return what decides the defaults of everything else, which must be known before the rest is read."""
    start = _Start()
    words = iter(word for item in argv for word in (item.split("=", 1) if item.startswith("--") else [item]))
    for word in words:
        if word in ("-o", "--out"):
            start.out = Path(next(words, ""))
        elif word == "--settings":
            start.settings = Path(next(words, ""))
        elif word == "--recipe":
            start.recipe = next(words, "")
        elif word == "--preset" and (name := next(words, "")) in ("xid", "digits", "none"):
            start.preset = name  # type: ignore[assignment]
        elif word in ("--resume", "--tiny"):
            setattr(start, word[2:], True)
    return start


def _hint(name: str, value: Any) -> Any:
    """Return a field's type for the parser: the method's own settings are of the chosen method's kind."""
    import typing

    from coview.training.settings import RunSettings

    return type(value) if name == "method" else typing.get_type_hints(RunSettings)[name]


def shown(settings: RunSettings, views: Mapping[str, ViewSpec], trained: Source) -> tuple[Source, str]:
    """Return what the report's map and examples are made of, and the sentence that says so.

    The test part, else the validation part, where the collection has one that training has not seen, with true pairs;
    else what the run was trained on.
    """
    from coview.data.open import open_source

    for split in ("test", "validation"):
        try:
            unseen = open_source(settings.collection, views, split=split, seed=settings.seed)
        except UsageError:  # there is no such part
            continue
        if len(unseen) > 1 and not set(unseen.ids) & set(trained.ids):
            return unseen, (
                f"The map and the examples show the {split} part ({len(unseen)} recordings), unseen in training."
            )
    return trained, "The map and the examples show recordings that the model was trained on."


def _dry_run(arguments: Any, settings: RunSettings) -> int:
    from coview.training.dry_run import describe

    plan = describe(settings)
    out = Output(json=arguments.json)
    if arguments.json:
        out.result(plan)
        return 0
    import yaml

    print(yaml.safe_dump(plan, sort_keys=False, allow_unicode=True, default_flow_style=None), end="")
    return 0


def _train(arguments: Any, settings: RunSettings) -> int:
    import json

    import coview
    from coview import parallel
    from coview.evaluation.report import write_report
    from coview.training.loop import train
    from coview.training.setup import build_method

    run = train(
        settings,
        arguments.out,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        init_from=arguments.init_from,
    )
    if parallel.is_main():
        method, source = build_method(settings)
        source, note = shown(settings, method.views, source)
        page = write_report(run, model=coview.load(run), source=source, notes=[note])
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        Output(json=arguments.json).result({"run": str(run), "report": str(page), **summary})
    return 0

"""`coview pretrain METHOD`: train a method on a collection, without labels."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from coview.cli.options import Asked, by_origin, flat, read_first, read_run
from coview.cli.output import Output
from coview.cli.places import check_sources
from coview.errors import CoviewError, UsageError
from coview.methods import PIPELINES, available, views_of
from coview.recipes import RUNS, run_recipe
from coview.training.settings import run_to_dict

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


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    names = sorted(available())
    if not argv or argv[0] in ("-h", "--help"):
        listed = {
            kind: "\n".join(f"  {name}" for name in some) for kind, some in (("methods", names), ("recipes", RUNS))
        }
        print(HELP.format(**listed), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    recipe = read_first(argv).recipe
    if argv[0].startswith("-") and recipe:
        argv = [run_recipe(recipe).method, *argv]
    method, rest = argv[0], argv[1:]
    if method in PIPELINES:
        raise UsageError(f"{method} is a pipeline and is not trained: coview discover {method} --help")
    if method not in names:
        near = difflib.get_close_matches(method, names, n=1)
        raise UsageError(
            f"the first word names the method; {method!r} is none"
            + (f"; did you mean {near[0]!r}?" if near else "")
            + f" Known: {', '.join(names)}"
        )
    check_sources(read_first(rest).collection)
    return start(read_run("pretrain", method, rest, EXAMPLES.format(method=method)))


def start(asked: Asked) -> int:
    """Train, or only say what would be trained; returns the exit code."""
    from coview import parallel
    from coview.data.open import open_source
    from coview.training.fitting import fit, sentence

    settings, output = asked.settings, Output(json=asked.arguments.json, quiet=not parallel.is_main())
    views = views_of(settings.method, settings.method_settings)
    source = open_source(
        settings.collection, views, split=settings.split, seed=settings.seed, shuffled=settings.shuffled
    )
    settings, changed = fit(settings, len(source), asked.stated, parallel.world_size())
    if changed:
        output.say(sentence(len(source), changed))
    return _dry_run(asked, settings, source) if asked.arguments.dry_run else _train(asked, settings, source, output)


def shown(settings: RunSettings, views: Mapping[str, ViewSpec], trained: Source) -> tuple[Source, str]:
    """Return what the report's map and examples are made of, and the sentence that says so.

    The test part, else the validation part, where the collection has one that shares no recording with the training
    part, with true pairs; else what the run was trained on. That it is unseen is said only where files and contents
    could be compared too.
    """
    from coview.data.leaks import shared

    said = ""
    for split, part in other_parts(settings, views):
        overlap = shared(trained, part)
        if len(part) > 1 and not overlap:
            unseen = ", unseen in training" if overlap.checked else ", other recordings than in training by their ids"
            return part, f"The map and the examples show the {split} part ({len(part)} recordings){unseen}.{said}"
        said += f" The {split} part is not shown: {overlap.sentence()}." if overlap else ""
    return trained, f"The map and the examples show recordings that the model was trained on.{said}"


def other_parts(settings: RunSettings, views: Mapping[str, ViewSpec]) -> Iterator[tuple[str, Source]]:
    """Yield the test and the validation part of a run's collection, where it has them and learns from another part."""
    from coview.data.open import open_source

    for split in ("test", "validation") if settings.split else ():
        if split == settings.split:
            continue
        try:
            yield split, open_source(settings.collection, views, split=split, seed=settings.seed)
        except UsageError:  # there is no such part
            continue


def leaks(settings: RunSettings, views: Mapping[str, ViewSpec], trained: Source) -> list[str]:
    """Return a sentence for each other part of the collection that holds what is trained on."""
    from coview.data.leaks import shared

    found = ((split, shared(trained, part)) for split, part in other_parts(settings, views))
    return [f"LEAK into the {split} part: {overlap.sentence()}" for split, overlap in found if overlap]


def _dry_run(asked: Asked, settings: RunSettings, source: Source) -> int:
    from coview.training.dry_run import describe

    plan = describe(settings, source)
    stated = flat(run_to_dict(asked.settings))
    origins = {
        name: asked.origins.get(name, "default") if value == stated.get(name) else "computed"
        for name, value in flat(plan["settings"]).items()
    }
    plan["origins"] = origins if asked.arguments.json else by_origin(origins)
    if asked.arguments.json:
        Output(json=True).result(plan)
        return 0
    import yaml

    print(yaml.safe_dump(plan, sort_keys=False, allow_unicode=True, default_flow_style=None), end="")
    return 0


def _train(asked: Asked, settings: RunSettings, trained: Source, output: Output) -> int:
    import json

    import coview
    from coview import parallel
    from coview.evaluation.report import write_report
    from coview.training.loop import train

    arguments = asked.arguments
    views = views_of(settings.method, settings.method_settings)
    found = leaks(settings, views, trained) if parallel.is_main() else []
    for sentence in found:
        output.say(sentence)
    run = train(
        settings,
        arguments.out,
        resume=arguments.resume,
        overwrite=arguments.overwrite,
        init_from=arguments.init_from,
        source=trained,
    )
    if not parallel.is_main():
        return 0
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    problems = problems_of(summary)
    try:
        source, note = shown(settings, views, trained)
        page = str(write_report(run, model=coview.load(run), source=source, notes=[note, *found]))
    except (CoviewError, OSError) as error:  # the run is whole without it
        output.say(f"{run / 'model'} is whole, but the report could not be made: {error}")
        output.finish({"run": str(run), "report": None, **summary, "leaks": found}, problems)
        return 1
    if not arguments.json:  # said already
        summary = {name: value for name, value in summary.items() if not isinstance(value, str)}
    code = output.finish({"run": str(run), "report": page, **summary, "leaks": found}, problems)
    media = any(view.medium for view in views.values())
    verb = ["explain"] if media else ["evaluate", "retrieval"]
    output.next("coview", *verb, "--model", run, "--collection", settings.collection)
    return code


def problems_of(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a run's data lacked, from its summary: recordings that were replaced, steps without a sample."""
    found = [(str(name), "could not be read and was replaced") for name in summary["replaced_recordings"]]
    if summary["idle_steps"]:
        found.append((f"{summary['idle_steps']} steps", "had nothing to learn from: too few samples with all views"))
    return found

"""One parser of a run's options: recipe, settings file and options, in this order, and where each value came from."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from coview.cli.static import check_words, published
from coview.data.augment import PRESETS, AugmentSettings
from coview.errors import SettingsError, UsageError
from coview.files import read_yaml
from coview.recipes import run_recipe
from coview.training.settings import RunSettings, load_run, recommended, run_to_dict

RECIPE = ("optimiser.", "schedule.", "augment.", "train.batch_size", "train.epochs", "clips_per_recording")
Origins = dict[str, str]  # a setting's name, such as optimiser.lr -> where its value comes from


@dataclass(kw_only=True)
class RunArguments:
    """What a verb that trains takes beside the run's settings."""

    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """The run's folder."""
    recipe: str | None = None
    """A published configuration to start from, such as av_ssrl.xid; other options change it."""
    settings: Path | None = None
    """A settings.yaml to start from, whole or in part; other options change it."""
    tiny: bool = False
    """Start from the method's smallest settings: small networks, for a CPU and for the procedural worlds."""
    preset: str | None = None
    """Start from a named recipe of augmentation: xid, swav, digits or none."""
    dry_run: bool = False
    """Print the resolved settings and where they come from, shapes, parameters, negatives and memory; train nothing."""
    resume: bool = False
    """Continue the run in its folder, or start it where there is none yet."""
    overwrite: bool = False
    """Remove the run that is in the folder."""
    init_from: Path | None = None
    """Start from the weights of another run or model."""
    json: bool = False
    """Print the result as JSON on stdout."""


@dataclass
class First:
    """What decides the defaults of everything else, and is therefore read first."""

    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    settings: Path | None = None
    recipe: str | None = None
    preset: str | None = None
    resume: bool = False
    tiny: bool = False
    collection: str | None = None

    @property
    def changes(self) -> bool:
        """Whether defaults are others than the method's published ones."""
        return bool(self.settings or self.recipe or self.preset or self.resume or self.tiny)


@dataclass(frozen=True)
class Asked:
    """What the command line asks for.

    Attributes:
        arguments: the verb's own, `RunArguments`.
        settings: of the run, not yet resolved.
        origins: of each setting, by its name in settings.yaml.
        stated: names of the settings that a person has given, by an option or in a file.
    """

    arguments: Any
    settings: RunSettings
    origins: Origins = field(default_factory=dict)
    stated: frozenset[str] = frozenset()


def read_run(
    verb: str, method: str, argv: Sequence[str], description: str, base: RunSettings | None = None, base_is: str = ""
) -> Asked:
    """Return the command's own arguments and the run's settings: recipe first, then files, then options.

    Args:
        verb: for the help, such as "pretrain".
        base: a run to start from instead of the method's own recipe; `base_is` says what it is, for `Asked.origins`.

    Raises:
        SettingsError, UsageError: a file or an option is wrong.
    """
    start = read_first(argv)
    if {"-h", "--help"} & set(argv) and base is None and not start.changes:
        layers = [_Layer("card", published(method))]
    else:
        known = [item.name for item in dataclasses.fields(RunArguments)] + [*flat(run_to_dict(published(method)))]
        changed = base is not None or start.changes  # then the method may have groups of options that its card lacks
        check_words(f"coview {verb} {method}", argv, known, "method." if changed else None)
        layers = _layers(method, start, base, base_is)
    run = layers[-1].run
    own = {item.name: getattr(run, item.name) for item in dataclasses.fields(RunSettings)}
    own["method"] = own.pop("method_settings")
    hints = typing.get_type_hints(RunSettings) | {"method": type(own["method"])}
    fields = [(name, hints[name], dataclasses.field(default=value)) for name, value in own.items()]
    whole = dataclasses.make_dataclass("Arguments", fields, bases=(RunArguments,), kw_only=True)
    try:
        arguments: Any = tyro.cli(
            whole,
            prog=f"coview {verb} {method}",
            description=description,
            args=list(argv),
            config=(tyro.conf.AvoidSubcommands,),
        )
        values = {name: getattr(arguments, name) for name in own}
        settings = RunSettings(**{**values, "method": method, "method_settings": values["method"]})
    except ValueError as error:  # a settings dataclass refused its values
        raise SettingsError([str(error)]) from error
    if not settings.collection:
        raise SettingsError(["collection: missing; --collection names a collection, a memory-mapped set or a world"])
    origins: Origins = {}
    before: Any = {}
    layers.append(_Layer("option", settings, given=True))
    for layer in layers:
        plain = flat(run_to_dict(layer.run))
        said = {leaf for leaf in plain if leaf.startswith(layer.states)} if layer.states else set()
        origins |= {
            leaf: layer.name for leaf in plain if leaf in said or leaf not in before or plain[leaf] != before[leaf]
        }
        before = plain
    given = {layer.name for layer in layers if layer.given}
    stated = frozenset(leaf for leaf in before if origins[leaf] in given)
    return Asked(arguments, settings, {leaf: origins[leaf] for leaf in before}, stated)


@dataclass(frozen=True)
class _Layer:
    """Settings once `name` has been heard; names that begin with what it `states` are its own, changed or not."""

    name: str
    run: RunSettings
    states: tuple[str, ...] = ()
    given: bool = False  # by a person, not by a recipe


def read_first(argv: Sequence[str]) -> First:
    """Return what decides the defaults of everything else."""
    try:
        known, _ = tyro.cli(First, args=list(argv), return_unknown_args=True, add_help=False, console_outputs=False)
    except SystemExit:  # a value is missing: the whole parser will say so
        return First()
    return known


def _layers(method: str, start: First, base: RunSettings | None, base_is: str) -> list[_Layer]:
    """Return what stands before the options, each with what those before it say."""
    if start.settings is not None and not start.settings.is_file():
        raise UsageError(f"{start.settings}: there is no such settings file")
    if start.recipe and start.settings:
        raise UsageError("pass either --recipe or --settings; both say everything")
    layers = [_Layer("default", RunSettings(method=method, collection=""))]
    if base is not None:
        layers.append(_Layer(base_is, base, ("collection", "split", "method.views")))
    else:
        name = f"{'tiny ' * start.tiny}recipe of {method}"
        layers.append(_Layer(name, recommended(method, tiny=start.tiny), RECIPE))
    if start.recipe:
        named = _of(method, run_recipe(start.recipe), start.recipe)
        if start.tiny:
            named = dataclasses.replace(named, method_settings=layers[-1].run.method_settings)
        layers.append(_Layer(f"recipe {start.recipe}", named, RECIPE))
    stored = start.out / "settings.yaml" if start.out and start.resume else None
    file = start.settings or (stored if stored is not None and stored.is_file() else None)
    if file is not None:
        data = read_yaml(file, "the settings of a run")
        # A whole file is a run's own: what a former version had no setting for is as it was then, not as in a recipe.
        whole = all(item.name in data for item in dataclasses.fields(RunSettings) if item.name != "method_settings")
        run = load_run(file, None if whole else layers[-1].run)
        layers.append(_Layer(str(file), _of(method, run, file), tuple(flat(data)), given=True))
    if start.preset:
        changed = dataclasses.replace(layers[-1].run, augment=preset(start.preset))
        layers.append(_Layer(f"preset {start.preset}", changed, ("augment.",)))
    return layers


def _of(method: str, run: RunSettings, where: Path | str) -> RunSettings:
    if run.method != method:
        raise UsageError(f"{where}: its method is {run.method!r}, not {method!r}")
    return run


def preset(name: str) -> AugmentSettings:
    """Return a named recipe of augmentation; raises UsageError with the nearest name where there is none."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise UsageError(f"there is no recipe of augmentation {name!r}{hint} Known: {', '.join(PRESETS)}")
    return PRESETS[name]


def by_origin(origins: Origins) -> dict[str, list[str]]:
    """Return origin -> settings, for people: a group whose settings all come from one place is named once."""
    found: dict[str, list[str]] = {}
    groups: dict[str, set[str]] = {}
    for name, origin in origins.items():
        groups.setdefault(name.partition(".")[0], set()).add(origin)
    for name, origin in origins.items():
        group = name.partition(".")[0]
        said = f"{group}.*" if name != group and len(groups[group]) == 1 else name
        if said not in found.setdefault(origin, []):
            found[origin].append(said)
    return found


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested settings as plain data with one entry per leaf, named as an option is."""
    if isinstance(values, dict) and (values or not prefix):
        found: dict[str, Any] = {}
        for name, value in values.items():
            found |= flat(value, f"{prefix}.{name}" if prefix else str(name))
        return found
    return {prefix: values}

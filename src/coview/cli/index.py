"""`coview index`: scan a folder, a manifest or a named data set into a collection."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from coview.cli.following import training
from coview.cli.output import Output, in_words
from coview.data.adapters import Options, check_adapter

DESCRIPTION = """Scan a folder, a manifest or a named data set into a collection.

Films, sounds and still pictures (PNG, JPEG, WebP, BMP, GIF) are told by their contents, whatever they are called, and
may lie in one folder. Every file is opened once: streams, lengths, rates, silence, rotation and errors go into a
Parquet table. Files that cannot be read are put into quarantine with the reason, and the exit code is 3; the collection
is usable all the same. A stopped index goes on where it was when the same command is given again.

A still picture is turned as its EXIF data say; of an animation the first picture is read. Methods of pictures (swav,
seer, deepcluster-v2) learn from stills and from the frames of films; those that need sound or motion leave stills out.

A caption is what stands in a manifest's column, in a file beside the recording that is called like it (film.txt,
film.json, film.vtt, film.srt), or else the title and description that the file itself carries.

Examples:
  coview index my-videos/ -o my-collection
  coview index my-videos/ -o my-collection --labels-from-folders
  coview index my-photos/ -o my-photo-collection
  RAY_ADDRESS=auto coview index /shared/films -o films --executor ray     (on many machines)
  coview index clips.csv -o my-collection        (columns: path; id, label, split, caption, group, flags, start, end)
  coview index digits-av:A -o digits --count 300
  coview index tuxpaint -o stamps --folder /usr/share/tuxpaint/stamps
  coview index ucf101 -o ucf --folder UCF101/
  coview index vggsound:50k -o vggsound --folder vggsound/
  coview index voc2007:trainval -o voc --folder VOCdevkit/
  coview index shapes -o shapes       (made pictures with boxes and masks)
"""

# Who chose the training, validation and test part (`data.parts`) -> how that is said.
CHOSEN = {
    "data": "as the data say",
    "name": "by the recordings' names",
    "class": "chosen once and evenly, as there are few recordings",
}


@dataclass(kw_only=True)
class Arguments:
    """What `coview index` is told."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SOURCE")]
    """Folder (any depth), manifest (.csv, .jsonl, .parquet), or a named data set: tuxpaint, digits-av, objects-av,
    pushes, vggsound, ucf101, ucf51, hmdb51, kinetics-sounds, flickr-soundnet, audioset, esc50, dcase, voc2007, voc2012,
    voc, imagenet, places205, sun397, mit-indoor, stanford40, flowers102, nyuv2, pushing, frames, shapes, surfaces."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="COLLECTION")]
    """The collection's folder."""
    follow_links: bool = False
    """Follow links that lead out of the folder; those that stay inside are always followed."""
    labels_from_folders: bool = False
    """Label each recording of a folder by the name of the folder it lies in."""
    folder: Path | None = None
    """Where a named data set's own files lie."""
    count: int | None = None
    """How many recordings of a named data set to make; all, or its usual number, by default."""
    seed: int = 0
    """Of everything random in a named data set."""
    executor: Literal["processes", "ray"] = "processes"
    """Where files are probed: here, or on the cluster of machines that RAY_ADDRESS names, which see the same paths."""
    workers: int | None = None
    """Probing processes; one per core by default."""
    overwrite: bool = False
    """Replace the collection if it is there already."""
    json: bool = False
    """Print the result as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Index, print counts and flags, and return 3 when something is in quarantine, else 0."""
    arguments = tyro.cli(Arguments, args=argv, prog="coview index", description=DESCRIPTION)
    if not Path(arguments.source).exists():
        check_adapter(arguments.source)
    out = Output(json=arguments.json)
    from coview.data.executors import choose_executor
    from coview.data.index import index_source

    with out.steps() as show:
        try:
            collection = index_source(
                arguments.source,
                arguments.out,
                labels_from_folders=arguments.labels_from_folders,
                options=Options(
                    folder=arguments.folder,
                    count=arguments.count,
                    seed=arguments.seed,
                    follow_links=arguments.follow_links,
                ),
                workers=arguments.workers,
                overwrite=arguments.overwrite,
                progress=show,
                executor=choose_executor("ray", arguments.workers) if arguments.executor == "ray" else None,
            )
        except (KeyboardInterrupt, SystemExit):
            out.say("stopped; the same command goes on from here")
            raise
    quarantine = collection.quarantine()
    about = collection.about
    names = ("counts", "parts", "flags", "reasons", "ignored", "classes", "report", "fingerprint")
    result: dict[str, Any] = {"collection": str(arguments.out), **{name: about[name] for name in names}}
    if arguments.json:
        result |= {"notes": about["notes"], "quarantine": [vars(row) for row in quarantine]}
    else:
        counts = {name: count for name, count in about["counts"].items() if count and name != "hours"}
        hours = about["counts"]["hours"]
        length = f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"
        result["counts"] = in_words(counts) + f", {length}" * bool(hours)
        sizes = {part: count for part, count in about["parts"].items() if part != "by"}
        result["parts"] = f"{in_words(sizes)}; {CHOSEN[about['parts']['by']]}"
    code = out.finish(result, [(row.path, f"{row.reason}: {row.message}") for row in quarantine])
    if quarantine:
        reasons = ", ".join(f"{count} {reason}" for reason, count in about["reasons"].items())
        where = arguments.out / "quarantine.parquet"
        files = "1 file" if len(quarantine) == 1 else f"{len(quarantine)} files"
        out.say(f"{files} could not be read ({reasons}); {where} lists them")
    for note in about["notes"]:
        out.say(f"note: {note}")
    if about["counts"]["recordings"] < 2:
        out.say("Methods learn from two recordings and more: index a folder that has them.")
    else:
        out.next(*training(about["counts"], arguments.out))
    return code

"""`coview search`: find the recordings nearest to a file that the collection has never seen."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from coview.cli.following import looking
from coview.cli.output import Output, cells
from coview.cli.places import check_files, check_models, check_sources
from coview.errors import UsageError
from coview.media.regular import check_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from coview.data.source import Source
    from coview.data.stored import Stored
    from coview.model import Model
    from coview.search.query import Hit

DESCRIPTION = """Find the recordings nearest to a file, which need not be in the collection: its sound or its picture
is embedded and compared with the sound or picture of every recording, exactly. The collection is embedded first where
it has not been yet; that is kept beside the model.

--where COLUMN=VALUE looks only among recordings that are so: kind ("picture and sound", picture, sound, still), label,
split, flags, codec, duration=2..10 (seconds; either end may be left out), words (in id, path, label or caption). Given
several times for one column, any of the values will do; what is asked of several columns must all be fulfilled.

Examples:
  coview search --model my-run --collection my-collection --query bark.wav --from audio --to video
  coview search --model my-run --collection my-collection --query street.mp4 -k 10 --json
  coview search --model my-run --collection my-collection --text "a dog barks"      (a model that reads words)
  coview search --model my-run --collection my-collection --query bark.wav -k 20 --html hits.html
  coview search --model my-run --collection my-collection --query bark.wav --where split=test --where duration=2..10
  coview search --model fused --collection a,b@my-collection --recording bark.wav --from a --to b
"""


@dataclass(kw_only=True)
class Arguments:
    """What the command takes."""

    model: Path
    """Run or model folder."""
    collection: str
    """Collection folder, memory-mapped set or world to search."""
    query: Path | None = None
    """Any audio or video file; for a model of stored features, a .npy file with one vector."""
    recording: str | None = None
    """Id of a recording of the collection, instead of a file."""
    text: str | None = None
    """Words to search by, instead of a file."""
    source: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """What of the query is used: audio, video, or a view of stored features; by default its picture, else its sound."""
    target: Annotated[str | None, tyro.conf.arg(name="to")] = None
    """What of the recordings it is compared with; by default the other one."""
    k: Annotated[int, tyro.conf.arg(aliases=["-k"])] = 5
    """Recordings wanted."""
    windows: int = 4
    """Evenly spaced cuts of the query and of each recording, at most."""
    where: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = field(default=())
    """Only among recordings that are so, such as label=dog; may be given several times."""
    embeddings: Path | None = None
    """Embeddings of the collection made by `coview embed`, instead of those kept beside the model."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs."""
    html: Path | None = None
    """Write the hits as a page as well, to look at and to listen to: a file that needs nothing else."""
    json: bool = False
    """Print the result as JSON on stdout."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = tyro.cli(Arguments, prog="coview search", description=DESCRIPTION, args=argv)
    if arguments.k < 1:
        raise UsageError(f"-k {arguments.k} finds nothing; ask for at least 1")
    if [arguments.query, arguments.text, arguments.recording].count(None) != 2:
        raise UsageError("say what to search by, once: --query FILE or --text WORDS or --recording ID")
    check_models(arguments.model)
    check_sources(arguments.collection)
    check_files(arguments.embeddings)
    if arguments.query is not None and arguments.query.suffix != ".npy":
        check_file(arguments.query)
    from coview.model import Model
    from coview.search.filters import read_conditions
    from coview.search.page import write_hits
    from coview.search.places import embeddings_of
    from coview.search.query import search, stored_vector
    from coview.training.settings import choose_device

    out = Output(json=arguments.json)
    conditions = read_conditions(arguments.where)
    if arguments.html is not None and arguments.html.is_dir():
        raise UsageError(f"--html {arguments.html} is a folder; give the name of a file, such as hits.html")
    model = Model.from_run(arguments.model).to(choose_device(arguments.device))
    asked, wanted = choose_views(model, arguments)
    # The query first: a file that cannot be read should not wait for a whole collection.
    vector = None if arguments.recording else embed_query(model, arguments, asked)
    with out.steps() as show_step:
        stored = embeddings_of(
            model, arguments.model, arguments.collection, arguments.windows, arguments.embeddings,
            lambda done, total: show_step("embedding the collection", done, total),
        )  # fmt: skip
    if vector is None:
        vector = stored_vector(stored, asked, str(arguments.recording))
    among = None if not conditions else chosen_rows(arguments, stored, conditions)
    hits = search(stored, wanted, vector, arguments.k, among)
    result = {
        "query": arguments.text or arguments.recording or str(arguments.query),
        "from": asked,
        "to": wanted,
        "recordings": len(stored.ids) if among is None else int(among.sum()),
        "hits": [dataclasses.asdict(hit) for hit in hits],
    }
    if arguments.html is not None:
        write_hits(
            arguments.html, page_source(arguments, model, stored), hits, words=str(result["query"]), asked=asked,
            wanted=wanted, recording=arguments.recording,
        )  # fmt: skip
        result["page"] = str(arguments.html)
        out.say(f"page: {arguments.html}")
    if not arguments.json:
        show(hits, asked, wanted)
    code = out.finish(result if arguments.json else {}, stored.problems)
    out.next(*looking(arguments.model, model, arguments.collection))
    return code


def chosen_rows(arguments: Arguments, stored: Stored, conditions: list[dict[str, Any]]) -> NDArray[np.bool_]:
    """Return which of the embedded recordings, bool (N,), fulfil all conditions.

    Raises:
        UsageError: none does, or the recordings are no collection's.
    """
    from coview.data.collection import Collection
    from coview.search.filters import Rows, rows_of

    collection = Collection.open(arguments.collection)
    rows = Rows(collection)
    chosen: NDArray[np.bool_] = rows.mask(conditions)[rows_of(stored.ids, collection)]
    if not chosen.any():
        near = rows.nearest_value(conditions)
        hint = f"; did you mean {near}?" if near else ""
        raise UsageError(f"no embedded recording is {' and '.join(arguments.where)}{hint}")
    return chosen


def embed_query(model: Model, arguments: Arguments, asked: str) -> Tensor:
    """Return the embedding (D,) of words, of a file, or of the vector in a .npy file.

    To a view of films a photograph is shown as a film that stands still.

    Raises:
        UsageError: the model takes stored features, and the file holds no such vector.
        MediaError: the file cannot be read.
    """
    import numpy as np
    import torch

    from coview.data.views import Batch
    from coview.media.stills import read_full_still

    if arguments.query is None:
        return model.embed_texts([arguments.text or ""])[0]
    spec = model.views[model.reads[asked][0]]
    if spec.stream == "video" and len(model.reads[asked]) == 1 and is_photograph(arguments.query):
        picture = torch.from_numpy(read_full_still(arguments.query)).permute(2, 0, 1)[:, None]
        return model.encode_video(picture.expand(-1, spec.raw_shape[1], -1, -1), view=asked)[0].cpu()
    if spec.stream != "features":
        return model.embed([arguments.query], view=asked, windows=arguments.windows)[asked][0]
    wanted = f"a .npy file with {spec.raw_shape} numbers, or --recording ID"
    if len(model.reads[asked]) > 1:
        raise UsageError(f"{asked} is made of several sets of features at once; ask by --recording ID")
    if arguments.query.suffix != ".npy":
        raise UsageError(f"{arguments.query}: this model takes features that were computed before; give {wanted}")
    try:
        if not arguments.query.is_file():
            raise ValueError("it is no regular file")
        mapped = np.load(arguments.query, mmap_mode="r", allow_pickle=False)  # its shape, before its numbers
        if mapped.shape != spec.raw_shape or mapped.dtype.kind not in "fiu":
            raise ValueError(f"it holds {mapped.dtype} {mapped.shape}")
        features = torch.from_numpy(np.array(mapped, dtype=np.float32))
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, OverflowError) as error:
        raise UsageError(f"{arguments.query}: cannot be read ({error}); give {wanted}") from error
    one = torch.zeros(1, dtype=torch.int64)
    batch = Batch(views={asked: features[None]}, row=one, key=one)
    return model.encode(batch)[asked][0].cpu()


def choose_views(model: Model, arguments: Arguments) -> tuple[str, str]:
    """Return the model's views for the query and for the recordings.

    Raises:
        UsageError: the model does not learn from what is asked.
        MediaError: the query cannot be read.
    """
    from coview.media.probe import probe

    query, target = arguments.query, arguments.target
    source = "text" if arguments.text else arguments.source
    views: dict[str, str] = {}
    for name in reversed(model.distinct_views()):
        spec = model.views.get(name)  # what is made of several views, or of stored features, has no stream but its name
        views[name if spec is None or spec.stream == "features" else spec.stream] = name
    for stream in (source, target):
        if stream is not None and stream not in views:
            raise UsageError(f"this model has no {stream}; it learnt from {' and '.join(sorted(views))}")
    if source is None and (query is None or not {"video", "image", "audio"} & views.keys()):
        source = list(views)[-1]
    if source is None and query is not None:
        has = probe(query)
        # One picture does for a view of motion where there is none of one picture.
        film = has.video and has.duration
        streams = (("video", film), ("image", has.video), ("audio", has.audio), ("video", has.video))
        usable = [stream for stream, there in streams if there and stream in views]
        if not usable:
            raise UsageError(
                f"{query} has neither picture nor sound that this model knows ({', '.join(sorted(views))})"
            )
        source = usable[0]
    assert source is not None
    own = views[source]
    others = [stream for stream in views if stream != source and model.method.comparable(own, views[stream])]
    wanted = target or (others[0] if others else source)
    if wanted != source and wanted not in others:
        raise UsageError(
            f"this model's {source} and {wanted} lie in different spaces, so that nothing can be near; it takes two "
            "towers of one network, such as CLIP's, or a model that learnt both"
        )
    return own, views[wanted]


def is_photograph(file: Path) -> bool:
    """Tell whether a file holds one picture.

    Raises:
        MediaError: the file cannot be read.
    """
    from coview.media.probe import probe

    has = probe(file)
    return bool(has.video) and not has.duration


def page_source(arguments: Arguments, model: Model, stored: Stored) -> Source:
    """Return the recordings of the embeddings, to be shown.

    Raises:
        UsageError: the collection is another one than that which was embedded.
    """
    from coview.search.places import open_with_paths

    source, _ = open_with_paths(arguments.collection, model)
    if list(source.ids) != stored.ids:
        raise UsageError(
            f"{stored.folder} holds embeddings of other recordings than {arguments.collection}; --html shows those of "
            "--collection: embed it again, or name the collection that was embedded"
        )
    return source


def show(hits: list[Hit], asked: str, wanted: str) -> None:
    """Print the hits as a table on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", title=f"nearest {wanted} to the query's {asked}", title_justify="left")
    for heading in ("", "cosine", "seconds", "recording"):
        table.add_column(heading, no_wrap=True)
    for place, hit in enumerate(hits, 1):
        row = cells(place, f"{hit.similarity:.3f}", f"{hit.start:.2f} - {hit.end:.2f}", hit.path or hit.id)
        table.add_row(*row)
    Console(highlight=False, soft_wrap=True).print(table)

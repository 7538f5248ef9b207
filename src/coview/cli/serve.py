"""`coview serve`: a page on this computer to look at a collection and listen to it."""

from __future__ import annotations

import contextlib
import math
import webbrowser
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

import tyro

from coview.cli.output import Output
from coview.cli.places import check_files, check_models
from coview.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from coview.data.stored import Stored
    from coview.model import Model
    from coview.serve.library import Library
    from coview.serve.searching import Searching
    from coview.serve.workers import Workers

DESCRIPTION = """Show a collection as a page in the browser: posters of all recordings, filters, what could not be
read; every recording to look at and to listen to, and to label by keys. Nothing leaves this computer; no model is
needed.

With a model the page searches by example: by a recording or a span of it, a file, the microphone, words where the model
reads them; sounds find pictures and the other way round, where it learnt to. The collection is embedded first where it
has not been yet, as by coview search. From these embeddings, or those of --embeddings alone, a classifier learns while
labels are given: the page asks for what it is least sure of, and measures it on recordings drawn at random.

Examples:
  coview serve --collection my-collection
  coview serve --model my-run --collection my-collection
  coview serve --collection my-collection --port 8800 --open
  coview serve --collection my-collection --embeddings my-embeddings

Needs Starlette and uvicorn: pip install 'coview[web]'
"""


@dataclass(kw_only=True)
class Arguments:
    """What the command takes."""

    collection: Path
    """Collection folder."""
    model: Path | None = None
    """Run or model folder to search by example with."""
    embeddings: Path | None = None
    """Embeddings of the collection made by `coview embed`, instead of those kept beside the model; without a model
    labels are learnt from them."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs."""
    max_upload_mb: int = 64
    """What a file that is searched by may weigh."""
    port: int = 8765
    """Where the page is served; 0 takes a free port."""
    host: str = "127.0.0.1"
    """Address to listen on; one that other computers reach needs --allow-host."""
    allow_host: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = field(default=())
    """A name by which the page is reached besides 127.0.0.1 and localhost; may be given several times."""
    media_root: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = field(default=())
    """A folder whose files may be shown although they lie outside of the collection's own; several times."""
    cache_gb: float = 2.0
    """What posters and playable copies may take in the user's cache."""
    open: bool = False
    """Open the page in the browser."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = tyro.cli(Arguments, prog="coview serve", description=DESCRIPTION, args=argv)
    if missing := [name for name in ("starlette", "uvicorn") if find_spec(name) is None]:
        raise UsageError(f"the page needs {' and '.join(missing)}: pip install 'coview[web]'")
    if not 0 <= arguments.port < 1 << 16:
        raise UsageError(f"--port {arguments.port}: expected 0 to 65535")
    if not 0 < arguments.cache_gb < math.inf:
        raise UsageError(f"--cache-gb {arguments.cache_gb}: expected a number above 0")
    if not 0 < arguments.max_upload_mb < 1 << 20:
        raise UsageError(f"--max-upload-mb {arguments.max_upload_mb}: expected a number above 0")
    check_models(arguments.model)
    check_files(arguments.embeddings)
    for root in arguments.media_root:
        if not root.is_dir():
            raise UsageError(f"--media-root {root}: expected a folder that exists")
    from coview.serve.app import build
    from coview.serve.cache import Cache, default_folder
    from coview.serve.guard import is_host_name
    from coview.serve.library import Library, holds_everything
    from coview.serve.server import is_loopback, listen, serve

    for name in arguments.allow_host:
        if not is_host_name(name):
            raise UsageError(f"--allow-host {name}: expected a host, such as lab.example or lab.example:8765")
    if not is_loopback(arguments.host) and not arguments.allow_host:
        raise UsageError(
            f"--host {arguments.host}: other computers could reach the page; say by which name: --allow-host NAME "
            "(better: leave it at 127.0.0.1 and forward the port by ssh -L)"
        )
    out = Output()
    library = Library(arguments.collection, arguments.media_root)
    model, stored = embedded(arguments, library, out)
    cache = Cache(default_folder(), round(arguments.cache_gb * (1 << 30)))
    listening = listen(arguments.host, arguments.port)
    port = int(listening.getsockname()[1])
    own = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    names = (*arguments.allow_host, *([own] if is_loopback(arguments.host) else []))
    app = build(
        library, cache, port=port, hosts=names, stored=stored,
        searching=None if model is None or stored is None else by_example(model, stored, library, arguments),
    )  # fmt: skip
    if not is_loopback(arguments.host):
        out.say("Warning: other computers reach this page, and what it shows travels unencrypted; ssh -L PORT is safer")
    root = library.now().collection.root
    said = "only those below --media-root are shown" if arguments.media_root else "--media-root FOLDER shows those"
    if holds_everything(root):
        out.say(f"the collection calls {root}, which holds all your files, its own; of its recordings {said}")
    elif outside := library.outside():
        out.say(f"{outside} recordings may lie outside of {root}; {said}")
    address = f"http://{names[0] if urlsplit(f'//{names[0]}').port else f'{names[0]}:{port}'}/#t={app.token}"
    out.say(
        f"{len(library.now().rows)} recordings of files below {root}. Open this in a browser here (Ctrl-C ends it):"
    )
    with contextlib.suppress(KeyboardInterrupt):  # who reads the address may end it at once
        print(address, flush=True)
        if arguments.open:
            webbrowser.open(address)
        serve(app, listening)
    out.say("coview serve: stopped; nothing was left open")
    return 0


def embedded(arguments: Arguments, library: Library, out: Output) -> tuple[Model | None, Stored | None]:
    """Return the model and the embeddings, as far as they are asked for; the collection is embedded now if need be."""
    from coview.data.stored import open_stored
    from coview.search.filters import rows_of

    if arguments.model is None:
        model, stored = None, None if arguments.embeddings is None else open_stored(arguments.embeddings)
    else:
        from coview.model import Model
        from coview.search.places import embeddings_of
        from coview.training.settings import choose_device

        model = Model.from_run(arguments.model).to(choose_device(arguments.device))
        name, windows = str(arguments.collection), 4  # as many as coview search takes: they share what is kept
        with out.steps() as show:
            stored = embeddings_of(
                model, arguments.model, name, windows, arguments.embeddings,
                lambda done, total: show("embedding the collection", done, total),
            )  # fmt: skip
    if stored is not None:
        rows_of(stored.ids, library.now().collection)  # embeddings of others are refused before anything is served
        if stored.problems:
            out.say(f"{len(stored.problems)} recordings could not be embedded in full: what they lack finds nothing")
    return model, stored


def by_example(model: Model, stored: Stored, library: Library, arguments: Arguments) -> Callable[[Workers], Searching]:
    """Return what makes search by example of a page's workers."""
    from coview.serve.searching import Searching

    return lambda workers: Searching(library, model, stored, workers, arguments.max_upload_mb << 20)

"""Using a model: reading, measuring, embedding, searching, painting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from coview.api.data import open
from coview.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from coview.api.data import Place
    from coview.data.recording import Split
    from coview.data.source import Source
    from coview.data.stored import Stored
    from coview.data.views import ViewSpec
    from coview.evaluation.bench import Result
    from coview.model import Model
    from coview.painting.files import Painted
    from coview.search.query import Hit


def load(path: Place) -> Model:
    """Read a model from its folder, from a run's folder, or from the hub; see `coview.model.Model`.

    Args:
        path: the folder; or "hf:OWNER/NAME", which is fetched from the Hugging Face hub where its cache lacks it.

    Raises:
        UsageError: there is no model, or its files do not fit each other.
        CoviewError: the hub did not give it.
    """
    from coview.interchange.hub import fetch
    from coview.model import Model

    name = str(path)
    return Model.from_run(fetch(name.removeprefix("hf:")) if name.startswith("hf:") else path)


def frozen(
    encoders: Sequence[str] | Mapping[str, tuple[ViewSpec, nn.Module]],
    *,
    weights: Sequence[Place] = (),
    download: bool = False,
) -> Model:
    """Return a model of encoders that were trained elsewhere, to embed, search and measure with; nothing is learnt.

    Args:
        encoders: names, "torchvision:NAME", "timm:NAME" or "hf:FOLDER"; or networks of one's own, a `coview.Encoder` or
            any module that makes features (B, D) of views, by name of the view and each with its view:
            {"image": (ImageView(size=224), network)}. See `coview.interchange.pretrained`.
        weights: a file for each name of torchvision and timm; none: what the libraries have kept.
        download: fetch what is not there. Otherwise nothing is fetched.

    Raises:
        UsageError: an unknown name, weights that are not there, or a network that makes no features of its view.
    """
    from coview.interchange.pretrained import frozen_model, model_of_networks

    if isinstance(encoders, Mapping):
        return model_of_networks(encoders)
    return frozen_model(encoders, [Path(file) for file in weights], download)


def evaluate(
    protocols: str | Sequence[str],
    model: Model | Place,
    collection: Place | tuple[Source | None, Source],
    *,
    train_split: Split = "train",
    test_split: Split = "test",
    controls: bool = False,
    windows: int = 1,
    seed: int = 0,
) -> Result:
    """Measure a model by "linear-probe", "knn", "retrieval" or several of them; nothing is written.

    `result.results` are the figures: name, value, low and high of the 95 % interval, chance, n, seeds. `result.notes`,
    `signs` and `problems` say what stands beside them; of a run's folder also whether it has seen the test recordings.

    Args:
        collection: a name as `open` takes it; or the training part (None for retrieval) and the test part. Of a small
            collection whose parts were chosen at indexing, test and validation part are both measured.
        controls: also measure random weights of the same architecture.

    Raises:
        UsageError: unknown protocol, or recordings that cannot be cut into the model's views.
    """
    from coview.evaluation.controls import NOTE, random_weights
    from coview.evaluation.folds import chosen_folds, over_parts
    from coview.evaluation.protocols import evaluate as measure
    from coview.evaluation.runs import judge, records_of
    from coview.evaluation.verdict import row_name

    records = records_of(Path(model)) if isinstance(model, (str, Path)) else None
    model = _model(model)
    pairs: dict[int, tuple[Source | None, Source]] = {}  # fold -> training and test part; 0 is no fold
    if isinstance(collection, tuple):
        pairs[0] = collection
    else:
        usual = (train_split, test_split) == ("train", "test")
        folds = chosen_folds(str(collection)) if usual else ()
        for fold in folds or (0,):
            number = fold or None
            pairs[fold] = (
                open(collection, model, split=train_split, fold=number),
                open(collection, model, split=test_split, fold=number),
            )

    def figures(of: Model, name: str) -> Result:
        found = {
            fold: measure(protocols, of, *pair, name=name, windows=windows, seed=seed) for fold, pair in pairs.items()
        }
        return over_parts(found) if len(found) > 1 else next(iter(found.values()))

    train, test = next(iter(pairs.values()))
    result = figures(model, row_name(model.method.about.slug, records is not None and records.shuffled))
    if records:
        judge(result, records, test, model.needed)
    if controls:
        other = figures(random_weights(model, train or test, seed=seed), "random")
        result.results += other.results
        result.report(other.problems)
        result.notes += [NOTE]
    return result


def embed(
    model: Model | Place,
    collection: Any,
    out: Place,
    *,
    space: Literal["projected", "backbone"] = "projected",
    windows: int = 4,
    batch_size: int = 64,
) -> Stored:
    """Write the embeddings of a collection into a folder and return them; see `coview embed`.

    `clips[view]` is (recordings, windows, numbers), of length 1; `present`, `start`, `ids` and `paths` go with it. For
    a few files or tensors, `Model.embed`, `Model.encode_video` and `Model.encode_audio` return tensors.

    Raises:
        UsageError: the folder holds something else.
    """
    from coview.embedding.stored import store
    from coview.search.places import open_with_paths

    model = _model(model)
    if isinstance(collection, (str, Path)):
        source, paths = open_with_paths(str(collection), model)
    else:
        source, paths = open(collection, model), []
    return store(model, source, Path(out), paths=paths, space=space, windows=windows, batch_size=batch_size)


def find(
    model: Model | Place,
    embeddings: Stored | Place,
    query: Place,
    *,
    source: str,
    target: str,
    k: int = 5,
    windows: int = 4,
) -> list[Hit]:
    """Return the recordings nearest to a file, best first, exactly; `coview search` on the command line.

    Args:
        embeddings: what `embed` returned, or its folder.
        query: any audio or video file.
        source, target: views of the model, such as "audio" and "video": what of the query, and what of the recordings.

    Raises:
        UsageError: the embeddings are another model's, or have no such view, or the two lie in different spaces.
        MediaError: the file cannot be read.
    """
    from coview.data.stored import open_stored
    from coview.embedding.stored import check_model
    from coview.search.query import search

    model = _model(model)
    stored = open_stored(Path(embeddings)) if isinstance(embeddings, (str, Path)) else embeddings
    check_model(stored, model)
    if source != target and not model.method.comparable(source, target):
        raise UsageError(f"{source} and {target} lie in different spaces of this model: nothing can be near")
    return search(stored, target, model.embed([query], view=source, windows=windows)[source][0], k)


def paint(
    model: Model | Place,
    pictures: Place,
    out: Place,
    *,
    box: tuple[int, int, int, int] | None = None,
    mask: Place | None = None,
) -> tuple[list[Painted], list[tuple[str, str]]]:
    """Colour, fill or clean photographs at their full size, and write paintings.html; see `coview paint`.

    Returns what was painted, with `source` and `target`, and (file, reason) of what was left out.
    `coview.painting.painter.Painter` does the same with arrays in memory.

    Args:
        pictures: a picture, or a folder of them.
        out: a folder that is empty or not there yet.
        box, mask: of a model that fills holes, where they are: left, top, width and height in pixels; or a picture
            that is white there, or a folder with one for each.

    Raises:
        UsageError: the model makes no pictures, or holes are missing or not wanted; something is in `out`.
    """
    from coview.evaluation.paintings import write_page
    from coview.painting.files import Holes, paint_files
    from coview.painting.painter import Painter

    painter = Painter(_model(model))
    holes = Holes(box=box, mask=None if mask is None else Path(mask))
    painted, problems = paint_files(painter, Path(pictures), Path(out), holes)
    write_page(Path(out), painted, painter.model.method.about.slug, painter.paints, len(problems))
    return painted, problems


def _model(model: Model | Place) -> Model:
    return load(model) if isinstance(model, (str, Path)) else model

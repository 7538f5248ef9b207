"""`coview evaluate words`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coview.cli.evaluate.common import Case, Models, read, run_models
from coview.cli.places import check_files

if TYPE_CHECKING:
    from coview.evaluation.bench import Result

DESCRIPTION = """Which words a model says of new pictures, and what the vectors of its words know.

image_words_p5 is the share of the five likeliest words that the caption has, beside that of the five commonest words.
With files, the share of analogies that are solved (word2vec's questions-words.txt) and the rank correlation with what
people judged (WordSim-353, MEN, SimLex-999), of the model's own vectors, of given ones (word2vec's text or GloVe's) and
of both joined. What a file asks of words that are not in the dictionary is counted and left out.

Examples:
  coview evaluate words --model my-run --collection my-collection
  coview evaluate words --model my-run --collection my-collection --analogies questions-words.txt --vectors glove.txt
  coview evaluate words --model my-run --collection my-collection --similarities wordsim.csv --map
"""


@dataclass(kw_only=True)
class Arguments(Models):
    """What the command takes."""

    analogies: Path | None = None
    """Questions, four words on a line, after lines ": section"."""
    similarities: Path | None = None
    """Pairs of words, and how similar people found them."""
    vectors: Path | None = None
    """Vectors of words from elsewhere, a word and its numbers on a line."""
    map: bool = False
    """Draw the commonest words into the model's evaluations, nearest words of another language joined."""
    languages: Path | None = None
    """For the map: a word, a tab and its language on a line; without it, scripts are told apart."""


def main(argv: list[str]) -> int:
    """Run the command and return its exit code."""
    arguments = read(Arguments, "words", DESCRIPTION, argv)
    check_files(arguments.analogies, arguments.similarities, arguments.vectors, arguments.languages)

    def measure(case: Case) -> Result:
        from coview.evaluation.word_files import read_analogies, read_similarities, read_vectors
        from coview.evaluation.words import Asked, dictionary_of, words

        known = dictionary_of(case.model)[1].dictionary()
        asked = Asked(
            analogies=read_analogies(arguments.analogies) if arguments.analogies else {},
            similarities=read_similarities(arguments.similarities) if arguments.similarities else (),
            vectors=read_vectors(arguments.vectors, known) if arguments.vectors else {},
        )
        with case.bench() as bench:
            words(bench, asked)
        return bench.result

    code = run_models(arguments, ["words", *argv], measure)
    if arguments.map:
        _draw(arguments)
    return code


def _draw(arguments: Arguments) -> None:
    """Draw the map of the first model, on the first process."""
    from coview import parallel
    from coview.cli.output import Output
    from coview.evaluation.word_files import read_languages
    from coview.evaluation.word_map import draw
    from coview.evaluation.words import dictionary_of
    from coview.model import Model

    if not parallel.is_main():
        return
    lexicon = dictionary_of(Model.from_run(arguments.model[0]))[1]
    names = lexicon.dictionary()
    path = arguments.model[0] / "evaluations" / "words.svg"
    path.parent.mkdir(exist_ok=True)
    languages = read_languages(arguments.languages) if arguments.languages else {}
    vectors, counts = (value[: len(names)].detach().numpy() for value in (lexicon.weight, lexicon.counts))
    pairs = draw(names, vectors, counts, path, languages)
    said = ", ".join(f"{one} - {other}" for one, other, _ in pairs[:8])
    Output(json=arguments.json).say(f"{path}: {len(pairs)} pairs of nearest words of two languages, such as {said}")

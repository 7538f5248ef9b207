"""From a folder of films to a search by sound, in Python: python examples/practitioner.py [FOLDER] [STEPS]

Without a folder, 60 clips of spoken and written digits are made. Learning takes minutes; 30 steps only show the way.
"""

import sys
import tempfile
from pathlib import Path

import coview


def main() -> None:
    """Index, learn, search, measure."""
    work = Path(tempfile.mkdtemp(prefix="coview-example-"))
    films = sys.argv[1] if len(sys.argv) > 1 else "digits-av:A"
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 30

    collection = coview.index(films, work / "collection", count=60 if films == "digits-av:A" else None)
    print(collection.about["counts"])

    changes = {"train.steps": steps, "train.batch_size": 16, "method.negatives": 16, "train.workers": 0}
    model = coview.pretrain("xid", work / "collection", work / "run", tiny=True, settings=changes)

    embeddings = coview.embed(model, work / "collection", work / "embeddings")
    query = collection.path(collection[0])
    print(f"nearest to the sound of {query}:")
    for hit in coview.find(model, embeddings, query, source="audio", target="video", k=3):
        print(f"  {hit.similarity:+.3f}  {hit.start:.1f} to {hit.end:.1f} s  {hit.path}")

    result = coview.evaluate("retrieval", model, work / "collection")
    for figure in result.results[:4]:
        print(f"  {figure.name} {figure.value:.3f}, chance {figure.chance:.3f}, n {figure.n}")
    print(f"the model, its report and everything else: {work}")


if __name__ == "__main__":  # reading processes import this file again
    main()

"""Features of two encoders brought into one space by CCA, as an estimator and as a model.

Two sets of features that share four numbers stand in for yours: python examples/correlation.py
"""

import tempfile
from pathlib import Path

import numpy as np

import coview


def main() -> None:
    """Fit, then keep as a model and measure."""
    draw = np.random.default_rng(0)
    shared = draw.normal(size=(1000, 4))
    pictures = np.hstack([shared, draw.normal(size=(1000, 28))]) @ draw.normal(size=(32, 32))
    sounds = np.hstack([shared, draw.normal(size=(1000, 12))]) @ draw.normal(size=(16, 16))

    cca = coview.CCA(n_components=6).fit([pictures[:800], sounds[:800]])
    x, y = cca.transform([pictures[800:], sounds[800:]])
    correlations = [round(float(np.corrcoef(x[:, k], y[:, k])[0, 1]), 3) for k in range(x.shape[1])]
    print("correlations of 200 pairs not fitted on:", correlations)

    work = Path(tempfile.mkdtemp(prefix="coview-example-"))
    files = {}
    for part, rows in (("fitted", slice(800)), ("new", slice(800, None))):
        for view, features in (("picture", pictures), ("sound", sounds)):
            files[part, view] = work / f"{view}-{part}.npy"
            np.save(files[part, view], features[rows].astype(np.float32))

    fitted = {view: files["fitted", view] for view in ("picture", "sound")}
    model = coview.fuse("cca", fitted, work / "fused", settings={"method.components": 4})
    new = coview.open(",".join(f"{view}={files['new', view]}" for view in fitted), model)
    for figure in coview.evaluate("retrieval", model, (None, new)).results[:4]:
        print(f"  {figure.name} {figure.value:.3f}, chance {figure.chance:.3f}, n {figure.n}")
    print(f"the model: {work / 'fused'}")


if __name__ == "__main__":  # reading processes import this file again
    main()

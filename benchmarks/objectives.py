"""What the objectives of the picture methods cost: a step beside the same networks without them.

    OMP_NUM_THREADS=1 python benchmarks/objectives.py                # 64 pixels, smallest networks, 32 pictures
    OMP_NUM_THREADS=1 python benchmarks/objectives.py --published    # sizes and networks as published, 2 pictures
    python benchmarks/objectives.py --published --batch 64 --device cuda

By turns, a round each: the encoder alone, forward and backward; all networks of the method, with a gradient that was
drawn before; the whole step, forward and backward, without the optimiser. What a step takes beyond its networks is the
objective: cutting and treating patches or holes, targets, losses, their gradients. Times are CPU-seconds of this
process, on a GPU seconds until it is done. context-discovery trains nothing and is absent.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from coview.data.views import Batch, ImageView
from coview.encoders import Encoder
from coview.methods import METHODS, load_method
from coview.methods.context_encoder import ContextEncoder, held
from coview.methods.contract import Facts, Method
from coview.methods.denoising_autoencoder import DenoisingAutoencoder
from coview.methods.larsson_colorization import LarssonColorization
from coview.methods.relative_position import RelativePosition
from coview.methods.split_brain import SplitBrain
from coview.objectives.colour import split

SLUGS = (
    "relative-position",
    "context-encoder",
    "colorization",
    "larsson-colorization",
    "split-brain",
    "denoising-autoencoder",
)
Inputs = Mapping[str, Tensor]


def last_maps(method: Method, name: str, x: Tensor) -> Tensor:
    """Return the last maps of the encoder of a view."""
    encoder = cast(Encoder, method.encoders[name])
    return encoder.feature_maps(x)[encoder.stages[-1]]


def with_pictures(method: Method, batch: Batch) -> Batch:
    """Return a batch whose views hold colours that pictures have: blurred noise, the same for all views."""
    views = dict(batch.views)
    for name, view in method.views.items():
        if isinstance(view, ImageView) and view.space in ("lightness", "colour", "intensity"):
            pictures = torch.rand(len(batch), 3, 8, 8, generator=torch.Generator().manual_seed(1))
            full = interpolate(pictures, size=views[name].shape[-2:], mode="bilinear").to(views[name])
            views[name] = split(full, view.space)
        elif isinstance(method, LarssonColorization):
            views[name] = views[name].sigmoid()
    return dataclasses.replace(batch, views=views)


def inputs_of(method: Method, batch: Batch) -> Inputs:
    """Return what each encoder sees in a step, made once."""
    if isinstance(method, RelativePosition):
        return {"image": method.patches(batch.views["image"], batch.key)}
    if isinstance(method, ContextEncoder):
        return {"image": method.dug(batch.views["image"], method.holes(batch))}
    if isinstance(method, DenoisingAutoencoder):
        return {method.name: method.corrupt(batch.views[method.name], batch.key)[0]}
    return {name: batch.views[name] for name in method.encoders}


def said(method: Method, inputs: Inputs, batch: Batch) -> list[Tensor]:
    """Return what all networks of a step yield, the objective left out."""
    if isinstance(method, RelativePosition):
        pairs = method.get_buffer("pairs")
        features = method.projectors["image"](method.encoders["image"](inputs["image"]))
        features = features.unflatten(0, (-1, method.settings.side**2))
        return [method.compare(torch.cat([features[:, pairs[:, 0]], features[:, pairs[:, 1]]], -1).flatten(0, 1))]
    if isinstance(method, ContextEncoder):
        made = method.makers["image"](last_maps(method, "image", inputs["image"]))
        if method.critic is None:
            return [made]
        seen, real = method._middle(made), method._middle(inputs["image"])
        judged = [method.critic(real), method.critic(seen.detach())]
        with held(method.critic):
            return [made, *judged, method.critic(seen)]
    if isinstance(method, DenoisingAutoencoder):
        return [method.makers[name](method.encoders[name](x)) for name, x in inputs.items()]
    if isinstance(method, LarssonColorization):
        grey = inputs["grey"]
        places = method.places(batch.key, grey.shape[-1])
        return [method.said([grey, *method.maps(grey).values()], places, grey.shape[2])]
    if isinstance(method, SplitBrain):
        return [each for _, found in method.look(inputs).values() for each in found.values()]
    (name, x), (maker,) = next(iter(inputs.items())), method.makers.values()
    return [maker(last_maps(method, name, x))]


def pulled(outputs: Callable[[], Sequence[Tensor]]) -> Callable[[], None]:
    """Return a pass through networks and back, by a gradient that is drawn here, once."""
    gradients = [torch.randn_like(each) / each.numel() for each in outputs()]
    return lambda: torch.autograd.backward(list(outputs()), gradients)


def clock(device: torch.device) -> float:
    """Return CPU-seconds of this process, or on a GPU seconds once it is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def rounds(
    passes: Sequence[Callable[[], None]], method: Method, count: int, device: torch.device
) -> Iterator[list[float]]:
    """Yield the time of each pass, one after the other, after one round to warm up."""
    for number in range(count + 1):
        times = []
        for each in passes:
            method.zero_grad(set_to_none=True)
            start = clock(device)
            each()
            times.append(clock(device) - start)
        if number:
            yield times


def settings_of(slug: str, published: bool) -> Any:
    """Return the settings that are measured: the defaults, or the smallest ones with pictures of 64 pixels."""
    kind = load_method(slug).Settings
    small = kind.tiny()
    return kind() if published else dataclasses.replace(small, image=dataclasses.replace(small.image, size=64))


def measure(slug: str, options: argparse.Namespace) -> str:
    """Return a row of the table."""
    torch.manual_seed(0)
    device = torch.device(options.device)
    method = load_method(slug)(settings_of(slug, options.published), Facts(rows=1000)).to(device)
    batch = with_pictures(method, method.example_batch(options.batch, 0)).to(device)
    inputs = inputs_of(method, batch)
    passes = [
        pulled(lambda: [last_maps(method, name, x) for name, x in inputs.items()]),
        pulled(lambda: said(method, inputs, batch)),
        lambda: method(batch).loss.backward(),  # type: ignore[no-untyped-call]
    ]
    times = np.array(list(rounds(passes, method, options.rounds, device)))
    encoder, networks, step = np.median(times, axis=0) * 1000
    shares = 1 - times[:, 1] / times[:, 2]
    return (
        f"| `{slug}` | {encoder:.4g} | {networks:.4g} | {step:.4g} | {np.median(shares):.1%} "
        f"({shares.min():.1%} to {shares.max():.1%}) |"
    )


def main() -> None:
    """Measure the methods and print a table in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=SLUGS, help="default: all six")
    parser.add_argument("--published", action="store_true", help="sizes and networks as published")
    parser.add_argument("--batch", type=int, default=None, help="default: 32, or 2 as published")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if unknown := set(options.methods) - set(METHODS):
        parser.error(f"no such method: {', '.join(sorted(unknown))}")
    options.batch = options.batch or (2 if options.published else 32)
    torch.set_num_threads(options.threads)
    print("| method | encoder, ms | all networks, ms | step, ms | objective / step |\n|---|---|---|---|---|")
    for slug in options.methods:
        print(measure(slug, options), flush=True)


if __name__ == "__main__":
    main()

"""Tensors as a model's raw views: pictures and sounds that are in memory already."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from coview.data.views import ViewSpec
from coview.errors import InputError
from coview.media.sounds import resample


def raw_frames(frames: Tensor, view: ViewSpec) -> Tensor:
    """Return raw views of pictures: uint8 (B, 3, T, S, S), T = 1 for a view of one picture.

    The short side is scaled to S, with averaging, and the square in the middle is kept.

    Args:
        frames: uint8 (B, 3, T, H, W) or (3, T, H, W), RGB, T as many as the view has.

    Raises:
        InputError: another shape or type.
    """
    *lead, side, _ = view.raw_shape
    whole = frames[None] if frames.ndim == len(view.raw_shape) else frames
    if whole.dtype != torch.uint8 or whole.ndim != len(view.raw_shape) + 1 or list(whole.shape[1:-2]) != lead:
        wanted = f"uint8 (B, {', '.join(map(str, lead))}, H, W)"
        length = f", pictures that cover {view.seconds:.3g} s" if view.seconds else ""
        raise InputError(f"expected {wanted}{length}; found {frames.dtype} {tuple(frames.shape)}")
    height, width = whole.shape[-2:]
    if min(height, width) != side:
        scale = side / min(height, width)
        size = max(side, round(height * scale)), max(side, round(width * scale))
        flat = interpolate(whole.flatten(0, -4).float(), size=size, mode="bilinear", antialias=True)
        whole = flat.round().clamp(0, 255).to(torch.uint8).reshape(*whole.shape[:-2], *size)
    top, left = ((length - side) // 2 for length in whole.shape[-2:])
    return whole[..., top : top + side, left : left + side]


def raw_sound(waveform: Tensor, rate: int, view: ViewSpec) -> Tensor:
    """Return raw views of sounds, float32 (B, samples): resampled, the first samples, with silence behind a short one.

    Args:
        waveform: float (B, N) or (N,), mono, full scale 1.
        rate: its samples per second.

    Raises:
        InputError: another shape or type, a rate that is none, or numbers that are not finite.
    """
    whole = waveform[None] if waveform.ndim == 1 else waveform
    if whole.ndim != 2 or not whole.is_floating_point() or not 1000 <= rate <= 1_000_000:
        raise InputError(
            f"expected a float waveform (B, N) or (N,), mono, at 1000 Hz or more; found {waveform.dtype} "
            f"{tuple(waveform.shape)} at {rate} Hz"
        )
    if not bool(whole.isfinite().all()):
        raise InputError("the waveform holds NaN or infinity")
    (samples,) = view.raw_shape
    new_rate = round(samples / view.seconds)
    rows = [torch.from_numpy(resample(row.float().cpu().numpy(), rate, new_rate)) for row in whole]
    return torch.stack([pad(row[:samples], (0, max(0, samples - len(row)))) for row in rows])


def view_of(names: Sequence[str], views: dict[str, ViewSpec], stream: str, view: str | None) -> str:
    """Return the view that is meant: the named one, or the first of a kind.

    Raises:
        InputError: the model has no such view.
    """
    fitting = [name for name in names if name in views and views[name].stream == stream and not views[name].of]
    if view is None and fitting:
        return fitting[0]
    if view not in fitting:
        raise InputError(f"this model has no view of {stream} called {view or stream!r}; it has {', '.join(names)}")
    return view

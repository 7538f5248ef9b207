"""Pictures on their way into a method: crops, flips and colours of whole batches, on the batch's device.

Every function takes one key per clip (int64 (B,)), so that a clip's look does not depend on its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample, pad

from coview.data.augment.moments import mean_and_std
from coview.data.augment.settings import AugmentSettings
from coview.randomness import normal, uniform

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma
_TOGETHER = 8  # clips that a processor changes at a time: more of them leave its caches
_Operation = Callable[[Tensor, Tensor], Tensor]  # clips and an amount of each -> changed clips
_Change = Callable[[Tensor, Tensor, _Operation, Tensor], Tensor]
# One stream of random numbers per purpose.
_AREA, _RATIO, _PLACE, _FLIP, _SHIFT, _REVERSE, _ORDER, _FACTORS, _NOISE, _JITTER, _COLOUR, _BLUR = range(100, 112)


def centre_crop(frames: Tensor, size: int) -> Tensor:
    """Return the middle (..., size, size) of frames (..., H, W)."""
    top, left = (frames.shape[-2] - size) // 2, (frames.shape[-1] - size) // 2
    return frames[..., top : top + size, left : left + size]


def random_view(
    frames: Tensor, size: int, key: Tensor, augment: AugmentSettings, mirrorable: Tensor | None = None
) -> Tensor:
    """Crop, flip, shift and reverse clips (B, 3, T, H, W) in [0, 1] into (B, 3, T, size, size).

    The crop's area and shape are drawn as in Inception-style training (area uniform, log ratio uniform), cut to the
    frame, and resampled bilinearly; a crop of the whole picture at its own size is exact. Only clips that `mirrorable`
    (bool (B,); None: all) allows are flipped.
    """
    if augment.reverse > 0:
        back = reversed_(key, augment)
        frames = torch.where(back[:, None, None, None, None], frames.flip(2), frames)
    height, width = frames.shape[-2:]
    if augment.crop_area is None:
        frames = centre_crop(frames, size)
        height = width = size
        half_h = half_w = torch.ones_like(key, dtype=torch.float32)
        y = x = torch.zeros_like(half_h)
    else:
        area, ratio = draw_shapes(key, augment.crop_area, augment.crop_ratio)
        half_w, half_h = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        place = draw_places(key) * 2 - 1
        x, y = place[:, 0] * (1 - half_w), place[:, 1] * (1 - half_h)
    if augment.shift:
        steps = torch.floor(uniform(key, _SHIFT, 2) * (2 * augment.shift + 1)) - augment.shift
        x, y = x + steps[:, 0] * 2 / width, y + steps[:, 1] * 2 / height
    flipped = mirrored(key, augment, mirrorable)
    if augment.crop_area is None and not augment.shift:
        return torch.where(flipped[:, None, None, None, None], frames.flip(-1), frames)
    line = (torch.arange(size, device=frames.device) * 2 + 1) / size - 1  # pixel centres, -1 to 1
    columns = x[:, None] + half_w[:, None] * torch.where(flipped[:, None], -line, line)
    rows = y[:, None] + half_h[:, None] * line
    grid = torch.stack([columns[:, None, :].expand(-1, size, -1), rows[:, :, None].expand(-1, -1, size)], dim=-1)
    batch, channels, time = frames.shape[:3]
    flat = frames.reshape(batch, channels * time, height, width)
    cut = grid_sample(flat, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return cut.reshape(batch, channels, time, size, size)


def mirrored(key: Tensor, augment: AugmentSettings, mirrorable: Tensor | None = None) -> Tensor:
    """Return which clips (B,) `random_view` flips."""
    drawn = uniform(key, _FLIP) < augment.flip
    return drawn if mirrorable is None else drawn & mirrorable


def reversed_(key: Tensor, augment: AugmentSettings) -> Tensor:
    """Return which clips (B,) `random_view` turns round in time."""
    return uniform(key, _REVERSE) < augment.reverse


def draw_shapes(
    key: Tensor, area: tuple[float, float], ratio: tuple[float, float], *tries: int
) -> tuple[Tensor, Tensor]:
    """Return crops' shares of the frame, uniform, and width / height, of uniform logarithm: both (B, *tries)."""
    low, high = (torch.tensor(limit).log().item() for limit in ratio)
    return _between(uniform(key, _AREA, *tries), area), _between(uniform(key, _RATIO, *tries), (low, high)).exp()


def draw_places(key: Tensor) -> Tensor:
    """Return the shares (B, 2) of the room that crops have from the left and from the top."""
    return uniform(key, _PLACE, 2)


def jitter_colours(frames: Tensor, key: Tensor, augment: AugmentSettings) -> Tensor:
    """Change brightness, contrast, saturation and hue of clips (B, 3, T, H, W) in [0, 1], in an order of each clip."""
    strengths = (augment.brightness, augment.contrast, augment.saturation, augment.hue)
    if not any(strengths):
        return frames
    frames = frames.clone()
    amounts = uniform(key, _FACTORS, 4) * 2 - 1
    order = uniform(key, _ORDER, 4).argsort(dim=1)
    operations = (_brightness, _contrast, _saturation, _hue)
    change = _change(frames.device)
    if augment.jitter < 1:
        order = torch.where((uniform(key, _JITTER) < augment.jitter)[:, None], order, -1)
    for slot in range(4):
        for number, (operation, strength) in enumerate(zip(operations, strengths, strict=True)):
            if strength:
                frames = change(frames, order[:, slot] == number, operation, amounts[:, number] * strength)
    return frames


def _change(device: torch.device) -> _Change:
    # Where the work is done elsewhere, asking which clips are chosen would wait for it, many times a batch.
    return _change_some if device.type == "cpu" else _change_where


def _change_some(frames: Tensor, chosen: Tensor, operation: _Operation, amount: Tensor) -> Tensor:
    """Change the chosen clips (bool (B,)) by their `amount` (B,), in place; computes on those alone, by a few."""
    for rows in torch.split(chosen.nonzero()[:, 0], _TOGETHER):
        changed = operation(frames.index_select(0, rows), _wide(amount.index_select(0, rows)))
        frames.index_copy_(0, rows, changed.clamp_(0, 1))
    return frames


def _change_where(frames: Tensor, chosen: Tensor, operation: _Operation, amount: Tensor) -> Tensor:
    """Return what `_change_some` does without knowing on the host which clips are chosen: computes on all."""
    return torch.where(_wide(chosen), operation(frames, _wide(amount)).clamp(0, 1), frames)


def grey(frames: Tensor, key: Tensor, augment: AugmentSettings) -> Tensor:
    """Take the colour away from some clips (B, 3, T, H, W)."""
    if not augment.grey:
        return frames
    chosen = uniform(key, _COLOUR) < augment.grey
    return torch.where(chosen[:, None, None, None, None], _grey(frames).expand_as(frames), frames)


def blur(frames: Tensor, key: Tensor, augment: AugmentSettings) -> Tensor:
    """Blur some clips (B, 3, T, H, W) by a Gaussian of a deviation of their own; the edge is repeated."""
    if not augment.blur:
        return frames
    draws = uniform(key, _BLUR, 2)
    reach = min(math.ceil(3 * augment.blur_radius[1]), min(frames.shape[-2:]) - 1)
    sigma = _between(draws[:, 1], augment.blur_radius)
    return _change(frames.device)(frames.clone(), draws[:, 0] < augment.blur, partial(_blurred, reach=reach), sigma)


def _blurred(frames: Tensor, sigma: Tensor, reach: int) -> Tensor:
    clips, channels, time, height, width = frames.shape
    if not clips:
        return frames
    place = torch.arange(-reach, reach + 1, device=frames.device)
    kernel = torch.exp(-0.5 * (place / sigma[:, 0, 0, 0].clamp(min=1e-3)).square())
    kernel = kernel / kernel.sum(1, keepdim=True)
    flat = frames.reshape(1, clips * channels * time, height, width)
    weight = kernel.repeat_interleave(channels * time, 0)[:, None]
    flat = conv2d(pad(flat, (reach, reach, 0, 0), "replicate"), weight[:, :, None, :], groups=flat.shape[1])
    flat = conv2d(pad(flat, (0, 0, reach, reach), "replicate"), weight[:, :, :, None], groups=flat.shape[1])
    return flat.reshape(frames.shape)


def normalise(frames: Tensor, how: str) -> Tensor:
    """Normalise clips (B, 3, T, H, W) in [0, 1] by ImageNet's statistics or by each clip's own mean and deviation."""
    mean, std = scale(frames, how)
    return (frames - mean) / std


def scale(frames: Tensor, how: str) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of frames (B, 3, ...), as `normalise` takes them, to be broadcast with them."""
    ones = [1] * (frames.ndim - 2)
    if how == "imagenet":
        mean, std = (frames.new_tensor(v).reshape(3, *ones) for v in (IMAGENET_MEAN, IMAGENET_STD))
        return mean, std
    mean, std = mean_and_std(frames)
    return mean.reshape(-1, 1, *ones), (std + 1e-4).reshape(-1, 1, *ones)


def disturb(frames: Tensor, key: Tensor, augment: AugmentSettings) -> Tensor:
    """Add noise to normalised clips."""
    if not augment.noise:
        return frames
    return frames + augment.noise * normal(key, _NOISE, *frames.shape[1:])


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None, None, None]


def _between(draw: Tensor, limits: tuple[float, float]) -> Tensor:
    return limits[0] + draw * (limits[1] - limits[0])


def _grey(frames: Tensor) -> Tensor:
    weights = frames.new_tensor(_GREY)[:, None, None, None]
    return (frames * weights).sum(1, keepdim=True)


def _brightness(frames: Tensor, amount: Tensor) -> Tensor:
    return frames * (1 + amount)


def _contrast(frames: Tensor, amount: Tensor) -> Tensor:
    level = _grey(frames).mean(dim=(-2, -1), keepdim=True)  # of each frame
    return level + (frames - level) * (1 + amount)


def _saturation(frames: Tensor, amount: Tensor) -> Tensor:
    grey = _grey(frames)
    return grey + (frames - grey) * (1 + amount)


def _hue(frames: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue with saturation and value kept (the HSV hexagon, written per channel as Smith 1978 inverts it)."""
    red, green, blue = frames.unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    spread = chroma.clamp(min=1e-8)
    # Where channels tie for the top, the sectors meet, and each formula gives the same hue.
    sector = torch.where(value == green, (blue - red).div_(spread).add_(2), (red - green).div_(spread).add_(4))
    hue = torch.where(value == red, (green - blue).div_(spread), sector).add_(6 * turns[:, 0])
    turned = torch.empty_like(frames)
    for channel, offset in enumerate((5.0, 3.0, 1.0)):
        k = (hue + offset).div_(6)
        k.sub_(k.floor()).mul_(6)  # the remainder operator takes several times as long
        torch.sub(value, torch.minimum(k, 4 - k).clamp_(0, 1).mul_(chroma), out=turned[:, channel])
    return turned

"""Stamp pictures as tensors: cropped to what is opaque, colour multiplied by alpha, fitted into a square."""

from __future__ import annotations

from pathlib import Path

import av
import torch
from torch import Tensor
from torch.nn import functional

from coview.errors import MediaError

_VISIBLE = 0.03  # a smaller alpha counts as nothing when the picture is cropped
_MAX_SIDE = 8192


def read_rgba(path: Path) -> Tensor:
    """Read a PNG of any mode: uint8 (4, height, width), colour not multiplied by alpha.

    Raises:
        MediaError: "undecodable" or "too-large".
    """
    try:
        with av.open(f"file:{path}", format="png_pipe", options={"protocol_whitelist": "file"}) as container:
            context = container.streams.video[0].codec_context
            if max(context.width, context.height) > _MAX_SIDE:
                size = f"{context.width} x {context.height}"
                raise MediaError(str(path), "too-large", f"{size} pixels; at most {_MAX_SIDE} a side are read")
            pixels = next(container.decode(video=0)).to_ndarray(format="rgba")
    except (av.error.FFmpegError, StopIteration, IndexError, ValueError) as error:
        raise MediaError(str(path), "undecodable", f"expected a PNG picture ({error})") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def fit(rgba: Tensor, size: int) -> Tensor:
    """Crop to the visible box, scale the long side to `size` and centre: float32 (4, size, size) in [0, 1].

    Colour is multiplied by alpha before it is scaled, so that invisible pixels leave no trace at the edges. Scaling
    down averages areas, scaling up is bilinear.

    Args:
        rgba: uint8 (4, height, width), not multiplied by alpha.
        size: side of the square in pixels.

    Raises:
        ValueError: nothing in the picture is visible.
    """
    picture = rgba.float() / 255
    visible = picture[3] > _VISIBLE
    if not visible.any():
        raise ValueError("nothing in the picture is visible: its alpha is below 0.03 everywhere")
    rows, columns = visible.any(1).nonzero().flatten(), visible.any(0).nonzero().flatten()
    picture = picture[:, int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
    picture = torch.cat([picture[:3] * picture[3:], picture[3:]])
    height, width = picture.shape[1:]
    longest = max(height, width)
    shape = (max(1, round(height * size / longest)), max(1, round(width * size / longest)))
    if longest > size:
        picture = functional.interpolate(picture[None], shape, mode="area")[0]
    else:
        picture = functional.interpolate(picture[None], shape, mode="bilinear", align_corners=False)[0]
    square = torch.zeros(4, size, size)
    top, left = (size - shape[0]) // 2, (size - shape[1]) // 2
    square[:, top : top + shape[0], left : left + shape[1]] = picture
    return square


def composite(square: Tensor, background: Tensor | float = 0.5) -> Tensor:
    """Lay pictures (..., 4, H, W), colour multiplied by alpha, on a background: (..., 3, H, W), float in [0, 1].

    The evaluation background is mid-grey. A transparent picture is never shown on black: black letters would vanish.
    """
    return square[..., :3, :, :] + (1 - square[..., 3:, :, :]) * background

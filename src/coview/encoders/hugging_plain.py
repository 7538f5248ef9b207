"""What describes a network of transformers: plain values, which choose among its own classes by short names.

Whatever in them could name other code is dropped before they are read.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Literal

from coview.encoders.bridges import check_name
from coview.errors import UsageError

Described = dict[str, Any]  # {"config": ..., and what is beside it: "processor", "tokeniser", "pooler", "part"}
Part = Literal["image", "audio", "text"]
# Of a network of two towers in one space: the method that yields a tower's vectors, and the parts that only it needs.
TOWERS: dict[Part, tuple[str, tuple[str, ...]]] = {
    "image": ("get_image_features", ("vision_", "visual_")),
    "audio": ("get_audio_features", ("audio_",)),
    "text": ("get_text_features", ("text_",)),
}
# Names of classes elsewhere, kernels that are fetched when they are named, and what has nothing to do with features.
_DROPPED = {"auto_map", "attn_implementation", "experts_implementation", "quantization_config", "custom_pipelines"}
_DROPPED |= {"id2label", "label2id", "architectures", "transformers_version", "torch_dtype", "dtype", "name_or_path"}


def transformers() -> Any:
    """Return the library; raises UsageError where its extra is missing."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise UsageError('hf: encoders need the extra: pip install "coview[transformers]"') from error


def plain(value: Any) -> Any:
    """Return values as JSON has them, without what could name code or is of no use."""
    if isinstance(value, Mapping):
        kept = {str(key): plain(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if not key.startswith("_") and key not in _DROPPED}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)


def config_of(values: Mapping[str, Any]) -> Any:
    """Return a configuration from plain values.

    Raises:
        UsageError: transformers knows no such type of network (lists the nearest names), the values are none of its
            own, they name another library's network, or it is no encoder: a network that writes, or several networks
            without one space.
    """
    hub = transformers()
    own = dict(values)
    kind = own.pop("model_type", None)
    check_name(f"hf:{kind}", "transformers", str(kind), list(hub.CONFIG_MAPPING.keys()))
    if _names_others(values):
        raise UsageError(
            f"this {kind} of transformers is built around a network of another library or repository, which would be "
            "fetched; name that one itself, such as timm:NAME"
        )
    try:
        config = hub.CONFIG_MAPPING[kind](**own)
    except Exception as error:  # transformers checks values in ways of its own
        said = " ".join(str(error).split())
        raise UsageError(f"a {kind} of transformers is not described by these values ({said})") from error
    towers = [name for name in ("vision_config", "text_config", "audio_config") if hasattr(config, name)]
    if (towers and not parts_of(config)) or getattr(config, "is_encoder_decoder", False):
        raise UsageError(
            f"a {kind} of transformers has several networks that share no space; expected an encoder of one kind of "
            "view, or two towers such as those of CLIP, SigLIP and CLAP"
        )
    return config


def _names_others(values: Any) -> bool:
    """Return whether values hold, at any depth, the name of a network that lies elsewhere: in a hub, or in any file."""
    if isinstance(values, Mapping):
        named = str(values.get("model_type")).startswith("timm_") or values.get("backbone") is not None
        return named or any(map(_names_others, values.values()))
    return isinstance(values, list) and any(map(_names_others, values))


def parts_of(config: Any) -> tuple[Part, ...]:
    """Return the towers of a network that brings words and pictures, or words and sounds, into one space; () of one."""
    hub = transformers()
    network = hub.MODEL_MAPPING.get(type(config), None)
    wanted = [part for part in TOWERS if hasattr(config, {"image": "vision_config"}.get(part, f"{part}_config"))]
    if "text" not in wanted or len(wanted) != 2 or not all(hasattr(network, TOWERS[part][0]) for part in wanted):
        return ()
    return tuple(wanted)


def only(network: Any, part: Part) -> Any:
    """Take out of a network of two towers what only the other one needs; returns it."""
    others = tuple(start for other, (_, starts) in TOWERS.items() if other != part for start in starts)
    for name, _ in list(network.named_children()):
        if name.startswith(others):
            delattr(network, name)
    return network


def width_of(config: Any) -> int:
    """Return the length of the vectors of a network of two towers."""
    own = getattr(config, "projection_dim", None) or getattr(config.text_config, "projection_size", None)
    return int(own or config.text_config.hidden_size)

"""Networks of transformers as encoders of pictures and sounds: "hf:FOLDER", or a repository in the hub's cache.

What transformers itself does to a picture or a sound before its network sees it (resizing, scaling, the spectrogram)
is done here by transformers' own processor, so that what comes out is what its own pipeline yields.

A network is described by plain values (`Described`): they choose among transformers' own classes by short names, and
whatever in them could name other code is dropped before they are read.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coview.encoders.base import Encoder
from coview.encoders.bridges import check_name
from coview.encoders.pretrained import Looks, from_hub
from coview.errors import UsageError

Described = dict[str, Any]  # {"config": ..., "processor": ..., "pooler": whether the network has one}
_SECONDS = 10.0  # of sounds, where a network takes any length
_LEAST = 0.03  # s of a sound that are shown at least: networks of sounds look at 25 ms at once
_BANDS = 4096  # of a spectrogram; more would only take memory
_FILES = ("preprocessor_config.json", "config.json")
# Names of classes elsewhere, kernels that are fetched when they are named, and what has nothing to do with features.
_DROPPED = {"auto_map", "attn_implementation", "experts_implementation", "quantization_config", "custom_pipelines"}
_DROPPED |= {"id2label", "label2id", "architectures", "transformers_version", "torch_dtype", "dtype", "name_or_path"}


class Tower(Encoder):
    """A network of transformers behind its own processor: (B, 3, H, W) in 0 to 1, or waveforms (B, samples).

    Features (B, dim) are the network's own summary (`pooler_output`) where its weights came with one, else the mean of
    its last states over places or time. Silence behind a sound that is shorter than the view is taken off: what fills
    the place is the processor's choice.

    Args:
        network, processor: of transformers.
        looks: how the view is cut.
    """

    stages = ("network",)

    def __init__(self, network: nn.Module, processor: Any, looks: Looks) -> None:
        super().__init__()
        config: Any = network.config
        self.network, self.processor, self.looks = network, processor, looks
        self.dim = int(getattr(config, "hidden_size", None) or config.hidden_sizes[-1])

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the features alone (B, dim): rows of one length go through the network together."""
        rows = [self._shown(row) for row in x]
        whole = x.new_zeros(len(rows), self.dim)
        for shape in dict.fromkeys(row.shape for row in rows):
            same = [number for number, row in enumerate(rows) if row.shape == shape]
            whole[same] = self._features(torch.cat([rows[number] for number in same]).to(x.device)).to(whole.dtype)
        return {"network": whole}

    def pool(self, maps: Tensor) -> Tensor:
        """Return the features as they are."""
        return maps

    def _shown(self, row: Tensor) -> Tensor:
        """Return what the processor makes of one view: (1, ...)."""
        if self.looks.stream == "image":
            made = self.processor(images=row[None], do_rescale=False, return_tensors="pt")
        else:
            heard = row.nonzero()
            end = max(int(heard[-1]) + 1, math.ceil(_LEAST * self.looks.rate)) if len(heard) else len(row)
            wave = row[:end].float().cpu().numpy()
            made = self.processor(wave, sampling_rate=self.looks.rate, return_tensors="pt")
        shown: Tensor = made[self.processor.model_input_names[0]]
        return shown

    def _features(self, shown: Tensor) -> Tensor:
        made = self.network(shown)
        summary: Tensor | None = getattr(made, "pooler_output", None)
        if summary is not None:
            return summary.flatten(1)
        states: Tensor = made.last_hidden_state
        return states.mean(1) if states.ndim == 3 else states.flatten(2).mean(2)


def load_tower(name: str, download: bool) -> tuple[Tower, Described]:
    """Return a trained network of a folder, or of a repository in the hub's cache, and what describes it.

    Weights are read from safetensors alone, and no code of the repository is run.

    Raises:
        UsageError: it is not there (says where was looked and what to fetch by hand), is no encoder of pictures or
            sounds, or its weights are not whole.
    """
    hub = transformers()
    hub.utils.logging.disable_progress_bar()
    folder = _folder(name, download)
    plain = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = _config(_plain(json.loads((folder / "config.json").read_text(encoding="utf-8"))))
        kind = hub.AutoImageProcessor if _is_image(config) else hub.AutoFeatureExtractor
        processor = kind.from_pretrained(folder, **plain)
        net, told = hub.AutoModel.from_pretrained(
            folder, config=config, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **plain
        )
    except UsageError:
        raise
    except Exception as error:  # transformers raises anything when a folder is not what it expects
        raise UsageError(f"hf:{name}: {folder} holds no encoder that can be read ({error})") from error
    lacking = sorted(told["missing_keys"])
    pooler = not lacking
    if lacking and any("pooler" not in key for key in lacking):
        raise UsageError(f"hf:{name}: {folder} lacks {len(lacking)} of its weights, first {lacking[0]}")
    described = {"config": _plain(config.to_dict()), "processor": _plain(processor.to_dict()), "pooler": pooler}
    described["processor"]["kind"] = type(processor).__name__
    tower = rebuilt(described)
    tower.network.load_state_dict(
        {key: value for key, value in net.state_dict().items() if pooler or "pooler" not in key}
    )
    return tower, described


def rebuilt(described: Mapping[str, Any]) -> Tower:
    """Return the network that plain values describe, with fresh weights.

    Raises:
        UsageError: they name what is no network or processor of transformers, or one that reads neither.
    """
    hub = transformers()
    config = _config(_plain(described["config"]))
    own = dict(_plain(described["processor"]))
    kind = getattr(hub, str(own.pop("kind", "")), None)
    bases = (hub.BaseImageProcessor, hub.FeatureExtractionMixin)
    if not (inspect.isclass(kind) and issubclass(kind, bases)):
        raise UsageError(f"transformers has no processor {described['processor'].get('kind')!r}")
    if any(int(own.get(size) or 0) > _BANDS for size in ("num_mel_bins", "feature_size", "n_fft")):
        raise UsageError(f"{kind.__name__}: a spectrogram of more than {_BANDS} bands")
    if _is_image(config) == issubclass(kind, hub.FeatureExtractionMixin):
        raise UsageError(f"{kind.__name__} is no processor of a {config.model_type}")
    less = {} if described.get("pooler", True) else {"add_pooling_layer": False}
    reader: Any = kind
    try:
        network, processor = hub.AutoModel.from_config(config, **less), reader.from_dict(own)
        return Tower(network, processor, _looks(config, processor))
    except (
        Exception
    ) as error:  # some say no length of features or no size of pictures, and transformers raises anything
        said = f"{type(error).__name__}: {error}"
        raise UsageError(f"a {config.model_type} of transformers cannot be used as an encoder ({said})") from error


def transformers() -> Any:
    """Return the library; raises UsageError where its extra is missing."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise UsageError('hf: encoders need the extra: pip install "coview[transformers]"') from error


def _folder(name: str, download: bool) -> Path:
    """Return the folder of a network: a local one, or the hub's snapshot of a repository."""
    if (Path(name) / "config.json").is_file():
        return Path(name)
    if Path(name).is_dir() or name.count("/") != 1 or name.startswith((".", "~")):
        raise UsageError(
            f"hf:{name}: expected a folder with config.json, preprocessor_config.json and model.safetensors, or the "
            "name of a repository on the hub, OWNER/NAME"
        )
    found = [from_hub(name, file, f"hf:{name}", download) for file in (*_FILES, "model.safetensors")]
    return found[0].parent


def _config(plain: Mapping[str, Any]) -> Any:
    """Return the configuration of an encoder of pictures or sounds from plain values."""
    hub = transformers()
    known = list(hub.CONFIG_MAPPING.keys())
    own = dict(plain)
    kind = own.pop("model_type", None)
    check_name(f"hf:{kind}", "transformers", str(kind), known)
    config = hub.CONFIG_MAPPING[kind](**own)
    towers = [part for part in ("vision_config", "text_config", "audio_config") if hasattr(config, part)]
    if towers or config.is_encoder_decoder:
        raise UsageError(f"a {kind} of transformers has several networks; encoders of one kind of view are read so far")
    return config


def _is_image(config: Any) -> bool:
    hub = transformers()
    if type(config) in hub.IMAGE_PROCESSOR_MAPPING:
        return True
    if type(config) in hub.FEATURE_EXTRACTOR_MAPPING:
        return False
    raise UsageError(f"a {config.model_type} of transformers is no encoder of pictures or sounds")


def _looks(config: Any, processor: Any) -> Looks:
    """Return what the processor expects to be given."""
    if _is_image(config):
        size = dict(processor.size)
        side = int(size.get("shortest_edge") or min(size["height"], size["width"]))
        return Looks("image", side, side)
    rate = int(processor.sampling_rate)
    frames = getattr(config, "max_length", None) if hasattr(config, "num_mel_bins") else None
    seconds = ((frames - 1) * 160 + 400) / 16000 if frames else _SECONDS  # frames of 25 ms, one every 10 ms
    return Looks("audio", rate=rate, seconds=seconds)


def _plain(value: Any) -> Any:
    """Return values as JSON has them, without what could name code or is of no use."""
    if isinstance(value, Mapping):
        kept = {str(key): _plain(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if not key.startswith("_") and key not in _DROPPED}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)

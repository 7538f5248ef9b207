"""Networks of transformers as encoders of pictures, sounds and words: "hf:FOLDER", or a repository in the hub's cache.

What transformers itself does to a picture, a sound or a text before its network sees it (resizing, scaling, the
spectrogram, word pieces) is done here by transformers' own processor, so that what comes out is what its own pipeline
yields. Two towers in one space, such as CLIP's, SigLIP's and CLAP's, are two encoders.

A network is described by plain values (`Described`, see `hugging_plain`).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from coview.encoders.base import Encoder
from coview.encoders.hugging_plain import (
    TOWERS,
    Described,
    Part,
    config_of,
    only,
    parts_of,
    plain,
    transformers,
    width_of,
)
from coview.encoders.hugging_words import SENTENCES, TOKENISER, TextTower, read_tokeniser
from coview.encoders.pretrained import Looks, from_hub, near_in_cache
from coview.errors import UsageError
from coview.files import read_json

_SECONDS = 10.0  # of sounds, where a network takes any length
_LEAST = 0.03  # s of a sound that are shown at least: networks of sounds look at 25 ms at once
_BANDS = 4096  # of a spectrogram, or the side of a picture in pixels; more would only take memory


class Tower(Encoder):
    """A network of transformers behind its own processor: (B, 3, H, W) in 0 to 1, or waveforms (B, samples).

    Features (B, dim) are the network's own summary (`pooler_output`) where its weights came with one, else the mean of
    its last states over places or time. Silence behind a sound that is shorter than the view is taken off: what fills
    the place is the processor's choice.

    Args:
        network, processor: of transformers.
        looks: how the view is cut.
        part: which tower of a network of two, whose features are the vectors of their space; None of a network alone.
    """

    stages = ("network",)

    def __init__(self, network: nn.Module, processor: Any, looks: Looks, part: Part | None = None) -> None:
        super().__init__()
        config: Any = network.config
        self.network, self.processor, self.looks = network, processor, looks
        self.space = TOWERS[part][0] if part else None
        self.dim = width_of(config) if part else int(getattr(config, "hidden_size", None) or config.hidden_sizes[-1])

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the features alone (B, dim): rows of one length go through the network together."""
        rows = [self._shown(row) for row in x]
        whole = x.new_zeros(len(rows), self.dim)
        main = self.processor.model_input_names[0]
        for shape in dict.fromkeys(row[main].shape for row in rows):
            same = [number for number, row in enumerate(rows) if row[main].shape == shape]
            shown = {name: torch.cat([rows[number][name] for number in same]).to(x.device) for name in rows[same[0]]}
            whole[same] = self._features(shown).to(whole.dtype)
        return {"network": whole}

    def pool(self, maps: Tensor) -> Tensor:
        """Return the features as they are."""
        return maps

    def _shown(self, row: Tensor) -> dict[str, Tensor]:
        """Return what the processor makes of one view: name -> (1, ...)."""
        if self.looks.stream == "image":
            made = self.processor(images=row[None], do_rescale=False, return_tensors="pt")
        else:
            heard = row.nonzero()
            end = max(int(heard[-1]) + 1, math.ceil(_LEAST * self.looks.rate)) if len(heard) else len(row)
            wave = row[:end].float().cpu().numpy()
            made = self.processor(wave, sampling_rate=self.looks.rate, return_tensors="pt")
        names = [name for name in self.processor.model_input_names if name in made and name != "attention_mask"]
        return {name: torch.as_tensor(made[name]) for name in names}  # one row has nothing to mask

    def _features(self, shown: dict[str, Tensor]) -> Tensor:
        if self.space:
            return cast(Tensor, getattr(self.network, self.space)(**shown).pooler_output)
        made = self.network(**shown)
        summary: Tensor | None = getattr(made, "pooler_output", None)
        if summary is not None:
            return summary.flatten(1)
        states: Tensor = made.last_hidden_state
        return states.mean(1) if states.ndim == 3 else states.flatten(2).mean(2)


def load_towers(name: str, download: bool) -> list[tuple[Tower | TextTower, Described]]:
    """Return the trained towers of a folder, or of a repository in the hub's cache, and what describes each.

    Weights are read from safetensors alone, and no code of the repository is run.

    Raises:
        UsageError: something is not there (says where was looked and what to fetch by hand), it is no encoder of
            pictures, sounds or words, or its weights are not whole.
    """
    hub = transformers()
    hub.utils.logging.disable_progress_bar()
    folder = _folder(name, "config.json", download)
    config = config_of(plain(read_json(folder / "config.json", "the config of a network", remedy="fetch it again")))
    parts: tuple[Part, ...] = parts_of(config) or (_part_of(config),)
    for file in _needed(parts):
        _folder(name, file, download)
    for file in SENTENCES if parts == ("text",) else ():
        try:
            _folder(name, file, download)
        except UsageError as error:  # few repositories have them
            if download and type(error.__cause__).__name__ != "RemoteEntryNotFoundError":
                raise  # whether this one has them is not known, and without them its vectors may be others
    try:
        net, told = hub.AutoModel.from_pretrained(
            folder, config=config, use_safetensors=True, output_loading_info=True, dtype=torch.float32,
            local_files_only=True, trust_remote_code=False,
        )  # fmt: skip
    except Exception as error:  # transformers raises anything when a folder is not what it expects
        raise UsageError(f"hf:{name}: {folder} holds no encoder that can be read ({error})") from error
    lacking = sorted(told["missing_keys"])
    if lacking and any("pooler" not in key for key in lacking):
        raise UsageError(f"hf:{name}: {folder} lacks {len(lacking)} of its weights, first {lacking[0]}")
    state = {key: value for key, value in net.state_dict().items() if not (lacking and "pooler" in key)}
    found = []
    for part in parts:
        described: Described = {"config": plain(config.to_dict()), "pooler": not lacking}
        described["part"] = part if len(parts) > 1 else None
        if part == "text":
            place = f"https://huggingface.co/{'OWNER/NAME' if Path(name).is_dir() else name}/resolve/main"
            described["tokeniser"], data = read_tokeniser(folder, f"hf:{name}", config, place)
        else:
            described["processor"] = _processor(folder, name, part)
        tower = rebuilt(described)
        own = tower.network.state_dict()
        tower.network.load_state_dict({key: value for key, value in state.items() if key in own})
        if isinstance(tower, TextTower):
            tower.tokeniser.copy_(data)
        found.append((tower, described))
    return found


def rebuilt(described: Mapping[str, Any]) -> Tower | TextTower:
    """Return the tower that plain values describe, with fresh weights.

    Raises:
        UsageError: they name what is no network or processor of transformers, or one that reads neither.
    """
    hub = transformers()
    config = config_of(plain(described["config"]))
    part = described.get("part")
    if part is not None and part not in parts_of(config):
        raise UsageError(f"a {config.model_type} of transformers has no tower of {part}")
    less = {} if described.get("pooler", True) else {"add_pooling_layer": False}
    try:
        facts = described.get("tokeniser")
        if facts is not None:
            network = hub.AutoModel.from_config(config, **less)
            width = width_of(config) if part else int(config.hidden_size)
            return TextTower(only(network, part) if part else network, width, facts, TOWERS[part][0] if part else None)
        reader = _reader(config, described["processor"], part)
        network = hub.AutoModel.from_config(config, **less)
        return Tower(only(network, part) if part else network, reader, _looks(config, reader, part), part)
    except UsageError:
        raise
    except (
        Exception
    ) as error:  # some say no length of features or no size of pictures, and transformers raises anything
        said = f"{type(error).__name__}: {error}"
        raise UsageError(f"a {config.model_type} of transformers cannot be used as an encoder ({said})") from error


def _reader(config: Any, values: Mapping[str, Any], part: Part | None) -> Any:
    """Return a processor from plain values."""
    hub = transformers()
    own = dict(plain(values))
    kind: Any = getattr(hub, str(own.pop("kind", "")), None)
    bases = (hub.BaseImageProcessor, hub.FeatureExtractionMixin)
    if not (inspect.isclass(kind) and issubclass(kind, bases)):
        raise UsageError(f"transformers has no processor {values.get('kind')!r}")
    if any(int(own.get(size) or 0) > _BANDS for size in ("num_mel_bins", "feature_size", "n_fft")):
        raise UsageError(f"{kind.__name__}: a spectrogram of more than {_BANDS} bands")
    sides = [own[name] for name in ("size", "crop_size", "pad_size") if own.get(name)]
    flat = [side for each in sides for side in (each.values() if isinstance(each, dict) else [each])]
    if any(int(side or 0) > _BANDS for side in flat):
        raise UsageError(f"{kind.__name__}: a picture of more than {_BANDS} pixels a side")
    if (part or _part_of(config)) != ("audio" if issubclass(kind, hub.FeatureExtractionMixin) else "image"):
        raise UsageError(f"{kind.__name__} is no processor of a {config.model_type}")
    maker: Any = kind
    return maker.from_dict(own)


def _processor(folder: Path, name: str, part: Part) -> dict[str, Any]:
    """Return the plain values of the processor that a folder holds."""
    hub = transformers()
    kind = hub.AutoImageProcessor if part == "image" else hub.AutoFeatureExtractor
    try:
        processor = kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises anything when a folder is not what it expects
        raise UsageError(f"hf:{name}: {folder} holds no processor that can be read ({error})") from error
    values: dict[str, Any] = plain(processor.to_dict())
    values["kind"] = type(processor).__name__
    return values


def _needed(parts: tuple[Part, ...]) -> list[str]:
    """Return the files that towers are read from beside config.json."""
    words = list(TOKENISER) if "text" in parts else []
    return ["model.safetensors", *words, *(["preprocessor_config.json"] if set(parts) - {"text"} else [])]


def _folder(name: str, file: str, download: bool) -> Path:
    """Return the folder of a network's file: a local one, or the hub's snapshot of a repository.

    A local folder may keep weights in parts, and words and settings under other names: that is for transformers to see.
    """
    if (Path(name) / "config.json").is_file():
        return Path(name)
    if Path(name).is_dir() or name.count("/") != 1 or name.startswith((".", "~")):
        near = near_in_cache(name)
        hint = f"; the hub's cache has {', '.join(near)}" if near else ""
        raise UsageError(
            f"hf:{name}: expected a folder with config.json, model.safetensors and preprocessor_config.json (of words: "
            f"{' and '.join(TOKENISER)}), or the name of a repository on the hub, OWNER/NAME{hint}"
        )
    return from_hub(name, file, f"hf:{name}", download).parent


def _part_of(config: Any) -> Part:
    """Return what a network alone is an encoder of."""
    hub = transformers()
    if type(config) in hub.IMAGE_PROCESSOR_MAPPING:
        return "image"
    if type(config) in hub.FEATURE_EXTRACTOR_MAPPING:
        return "audio"
    if type(config) in hub.TOKENIZER_MAPPING and type(config) in hub.MODEL_MAPPING:
        return "text"
    raise UsageError(f"a {config.model_type} of transformers is no encoder of pictures, sounds or words")


def _looks(config: Any, processor: Any, part: Part | None) -> Looks:
    """Return what the processor expects to be given."""
    if (part or _part_of(config)) == "image":
        size = dict(processor.size)
        side = int(size.get("shortest_edge") or min(size["height"], size["width"]))
        return Looks("image", side, side)
    rate = int(processor.sampling_rate)
    frames = getattr(config, "max_length", None) if hasattr(config, "num_mel_bins") else None
    seconds = ((frames - 1) * 160 + 400) / 16000 if frames else _SECONDS  # frames of 25 ms, one every 10 ms
    return Looks("audio", rate=rate, seconds=float(getattr(processor, "max_length_s", None) or seconds))

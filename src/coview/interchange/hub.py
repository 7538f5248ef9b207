"""Sending a model to a hub and fetching one from it, when asked to."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

from coview.errors import CoviewError, UsageError
from coview.model import Model


def push(model: Model, repository: str, *, private: bool = True) -> str:
    """Upload a model's folder (safetensors, JSON, card) to a repository of the Hugging Face hub; returns its address.

    The repository is made where it is not there. Who uploads is whom the package huggingface_hub is logged in as;
    coview reads no token.

    Raises:
        UsageError: the package is not installed, or the repository's name is not OWNER/NAME.
        CoviewError: the hub refused.
    """
    api = _hub(repository).HfApi(library_name="coview")
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder))
        try:
            address = api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=repository, folder_path=folder, commit_message=f"{model.method.about.title}, by coview"
            )
        except (OSError, ValueError) as error:  # the package's errors of network and of names are of these kinds
            raise CoviewError(f"{repository}: the hub did not take the model: {error}") from error
    return str(address)


def fetch(repository: str) -> Path:
    """Return the folder of a model from the Hugging Face hub, in that package's cache.

    Only what is not there is fetched, with HF_HUB_OFFLINE=1 nothing. What is read of it is data alone, whoever wrote it
    (see `Model`).

    Raises:
        UsageError: the package is not installed, or the repository's name is not OWNER/NAME.
        CoviewError: the hub has no such repository, or does not answer.
    """
    hub = _hub(repository)
    try:
        files = ["*.json", "*.safetensors"]
        return Path(hub.snapshot_download(repository, library_name="coview", allow_patterns=files))
    except (OSError, ValueError) as error:
        raise CoviewError(f"{repository}: the hub did not give the model: {error}") from error


def _hub(repository: str) -> Any:
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise UsageError(f"{repository!r}: expected OWNER/NAME, the name of a repository on the hub")
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise UsageError("a hub needs the package huggingface_hub: pip install 'coview[hub]'") from error

"""One folder of odd and bad media and its collection, made once."""

from __future__ import annotations

import pytest
from bad_media import make_bad_media

from coview.data.index import index_source


@pytest.fixture(scope="session")
def bad_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media") / "bad"
    folder.mkdir()
    return folder, make_bad_media(folder)


@pytest.fixture(scope="session")
def bad_collection(bad_folder, tmp_path_factory):
    return index_source(str(bad_folder[0]), tmp_path_factory.mktemp("index") / "bad", workers=0)

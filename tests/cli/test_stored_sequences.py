"""A published default whose views were stored before: MCN from vectors of films, sequences of words and raw sound."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from coview.cli.main import main
from coview.data.stored import open_stored
from coview.media.encode import write_clip

CLIPS = 6


@pytest.fixture
def data(tmp_path):
    numbers = torch.Generator().manual_seed(0)
    (tmp_path / "sounds").mkdir()
    for clip in range(CLIPS):
        sound = torch.randn(16000, generator=numbers) / 10
        write_clip(tmp_path / "sounds" / f"{clip}.mp4", None, None, sound, 16000)
    assert main(["index", str(tmp_path / "sounds"), "-o", str(tmp_path / "c"), "--workers", "0"]) == 0
    ids = pq.read_table(tmp_path / "c" / "recordings.parquet").column("id").to_pylist()
    films = torch.randn(CLIPS, 4096, generator=numbers)
    words = [torch.randn(2 + clip, 300, generator=numbers) for clip in range(CLIPS)]  # sentences of 2 to 7 words
    pq.write_table(pa.table({"id": ids, "video": films.tolist()}), tmp_path / "films.parquet")
    pq.write_table(pa.table({"id": ids, "text": [one.tolist() for one in words]}), tmp_path / "words.parquet")
    return f"{tmp_path / 'c'}+video={tmp_path / 'films.parquet'}+text={tmp_path / 'words.parquet'}"


@pytest.mark.slow
def test_mcn_learns_from_its_own_views_and_embeds_all_three(data, tmp_path):
    run = str(tmp_path / "run")
    small = ["--method.embedding", "64", "--method.clusters", "2", "--method.queue", "16", "--method.decoder", "32"]
    budget = ["--train.steps", "2", "--train.batch-size", "4", "--train.device", "cpu", "--train.workers", "0"]
    assert main(["pretrain", "mcn", "--collection", data, "-o", run, *small, *budget]) == 0
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 2 and all(loss > 0 for loss in losses)
    assert main(["embed", "--model", run, "--collection", data, "-o", str(tmp_path / "e")]) == 0
    assert set(open_stored(tmp_path / "e").views) == {"video", "audio", "text"}

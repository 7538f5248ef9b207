"""Folders in object storage, on a real S3 server of moto behind a proxy that fails, cuts off and dawdles."""

import http.client
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from coview import remote
from coview.cli.main import main
from coview.errors import CoviewError, UsageError

TARS = {f"shard-0000{k}.tar": bytes([k]) * 300_000 for k in range(3)}
SECRET = "a-secret-that-nobody-prints"


class Faulty(BaseHTTPRequestHandler):
    """Hands requests on to moto; `faults(number)` says what befalls one: "", "busy", "cut" or "slow"."""

    protocol_version = "HTTP/1.1"
    port, count, ranges, faults = 0, 0, 0, staticmethod(lambda number: "")

    def handle_any(self):
        Faulty.count += 1
        fault = Faulty.faults(Faulty.count)
        Faulty.ranges += "Range" in self.headers
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fault == "busy":
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault == "slow":
            time.sleep(0.3)
        upstream = http.client.HTTPConnection("127.0.0.1", Faulty.port)
        upstream.request(self.command, self.path, body, dict(self.headers))
        answer = upstream.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length", "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.headers.get("Content-Length") or str(len(data)))
        self.end_headers()
        if fault == "cut" and len(data) > 1:
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        elif self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815 (http.server's names)

    def log_message(self, *what):
        pass


@pytest.fixture(scope="module")
def server():
    moto = pytest.importorskip("moto.server", reason="needs moto[s3], flask and flask-cors")
    behind = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    behind.start()
    Faulty.port = behind.get_host_and_port()[1]
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Faulty)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{proxy.server_port}"
    proxy.shutdown()
    behind.stop()


@pytest.fixture
def storage(server, tmp_path, monkeypatch):
    known = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL": server}
    for name, value in {**known, "COVIEW_STORAGE_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "_RANGE", 2**16)
    monkeypatch.setattr(remote, "_WAIT", 0.01)
    monkeypatch.setattr(Faulty, "faults", staticmethod(lambda number: ""))
    monkeypatch.setattr(Faulty, "count", 0)
    put("shards.json", b'{"format": 1}')
    for name, data in TARS.items():
        put(name, data)
    return "s3://films/copy"


def put(name, data, folder="copy"):
    from pyarrow import fs

    files = fs.S3FileSystem(
        access_key="somebody", secret_key=SECRET, endpoint_override=f"127.0.0.1:{Faulty.port}", scheme="http",
        region="us-east-1", allow_bucket_creation=True,
    )  # fmt: skip
    files.create_dir("films")
    with files.open_output_stream(f"films/{folder}/{name}") as out:
        out.write(data)


def test_small_files_come_at_once_and_shards_in_ranges_when_they_are_read(storage):
    folder = remote.copy_of(storage)
    assert (folder / "shards.json").read_bytes() == b'{"format": 1}'
    assert not list(folder.glob("*.tar"))
    before = Faulty.ranges
    remote.present(folder / "shard-00001.tar")
    assert Faulty.ranges - before == 5  # 300,000 bytes in ranges of 65,536
    assert (folder / "shard-00001.tar").read_bytes() == TARS["shard-00001.tar"]
    assert [path.name for path in folder.glob("*.tar")] == ["shard-00001.tar"]
    asked = Faulty.count
    remote.present(folder / "shard-00001.tar")
    assert Faulty.count == asked


def test_requests_that_fail_are_cut_off_or_slow_are_made_again(storage, monkeypatch):
    how = ["", "busy", "", "cut", "slow", "busy", "busy"]
    monkeypatch.setattr(Faulty, "faults", staticmethod(lambda number: how[number % len(how)]))
    folder = remote.copy_of(storage)
    for name, data in TARS.items():
        remote.present(folder / name)
        assert (folder / name).read_bytes() == data


def test_many_readers_fetch_a_shard_once(storage):
    folder = remote.copy_of(storage)
    before = Faulty.ranges
    readers = [threading.Thread(target=remote.present, args=(folder / "shard-00000.tar",)) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert Faulty.ranges - before == 5


def test_what_changed_in_storage_is_fetched_anew(storage):
    folder = remote.copy_of(storage)
    remote.present(folder / "shard-00000.tar")
    put("shards.json", b'{"format": 9}')
    put("shard-00000.tar", b"other" * 50_000)
    with pytest.raises(OSError, match="was changed in storage"):  # listed before: half old and half new is neither
        (folder / "shard-00000.tar").unlink()
        remote.present(folder / "shard-00000.tar")
    assert not (folder / "shard-00000.tar").exists()
    assert remote.copy_of(storage) == folder
    remote.present(folder / "shard-00000.tar")
    assert (folder / "shards.json").read_bytes() == b'{"format": 9}'
    assert (folder / "shard-00000.tar").read_bytes() == b"other" * 50_000


def test_the_cache_is_bounded_and_who_reads_goes_on(storage, monkeypatch):
    monkeypatch.setenv("COVIEW_STORAGE_CACHE_GB", "0.00065")  # two of three
    folder = remote.copy_of(storage)
    remote.present(folder / "shard-00000.tar")
    with (folder / "shard-00000.tar").open("rb") as reading:
        for name in TARS:
            remote.present(folder / name)
        assert sorted(path.name for path in folder.glob("*.tar")) == ["shard-00001.tar", "shard-00002.tar"]
        assert reading.read() == TARS["shard-00000.tar"]


def test_storage_that_never_answers_is_one_sentence_without_the_secret(storage, monkeypatch, tmp_path):
    monkeypatch.setattr(Faulty, "faults", staticmethod(lambda number: "busy"))
    with pytest.raises(CoviewError, match="the storage cannot be read") as raised:
        remote.copy_of(storage)
    assert SECRET not in str(raised.value)
    assert not list((tmp_path / "cache").rglob("*.json")) and not list((tmp_path / "cache").rglob("*.partial"))


def test_nothing_odd_names_and_films_are_refused(storage):
    with pytest.raises(UsageError, match="nothing lies there"):
        remote.copy_of("s3://films/none")
    with pytest.raises(UsageError, match="no names of files"):
        remote._check("s3://films/x", {"../../.bashrc": [1, 0]})
    objects = {"shards.json": [1, 0], ".listing.lock": [0, 0], "a/.x.partial": [1, 0]}
    remote._check("s3://films/x", objects)
    assert list(objects) == ["shards.json"]
    for found in ({"collection.json": [1, 0], "media/a.mp4": [1, 0]}, {"a.mp4": [1 << 40, 0]}):
        with pytest.raises(UsageError, match="read from disks alone"):
            remote._check("s3://films/x", found)


@pytest.mark.parametrize("address", ["s3://", "s3:///x", f"s3://me:{SECRET}@b/x", f"s3://b/x?secret_key={SECRET}"])
def test_what_is_no_address_is_refused_without_being_shown_or_kept(address, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COVIEW_STORAGE_CACHE", str(tmp_path / "cache"))
    for words in (["--model", "/none", "--collection", address], ["-o", address]):
        assert main(["evaluate", "knn", *words]) == 2
        assert SECRET not in "".join(capsys.readouterr())
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_hold_the_copy_and_a_wrong_limit_are_told_as_such(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COVIEW_STORAGE_CACHE", str(tmp_path / "file"))
    with pytest.raises(CoviewError, match=r"cannot be written .Not a directory.*COVIEW_STORAGE_CACHE"):
        remote.copy_of("s3://films/copy")
    monkeypatch.setenv("COVIEW_STORAGE_CACHE_GB", "much")
    with pytest.raises(UsageError, match="COVIEW_STORAGE_CACHE_GB is 'much'"):
        remote.copy_of("s3://films/copy")


def test_an_address_in_a_file_is_no_address(storage, tmp_path):
    """A folder that somebody gave away with a list of objects in it makes nobody ask for them."""
    given = tmp_path / "given"
    given.mkdir()
    (given / remote._LIST).write_text(json.dumps({"address": storage, "objects": {"shard-00000.tar": [300000, 0]}}))
    before = Faulty.count
    remote.present(given / "shard-00000.tar")
    assert not (given / "shard-00000.tar").exists() and Faulty.count == before


def test_results_are_not_written_to_storage(capsys):
    assert main(["prepare", "my-collection", "-o", "s3://films/out"]) == 2
    assert "results are written to a folder" in capsys.readouterr().err
    assert main(["prepare", "my-collection", "--out=s3://films/out"]) == 2
    assert main(["prepare", "my-collection", "-os3://films/out"]) == 2


@pytest.mark.slow
def test_a_prepared_copy_in_storage_gives_the_samples_of_one_on_disk(storage, tmp_path, monkeypatch):
    import torch
    from measured import collection

    from coview.data.collection import Collection
    from coview.data.executors import Serial
    from coview.data.open import open_source
    from coview.data.shards.layout import PrepareSettings
    from coview.data.shards.write import prepare
    from coview.data.source import sample_keys

    local = tmp_path / "local"
    prepare(Collection.open(collection()), local, PrepareSettings(recordings_per_shard=10), Serial())
    for path in local.iterdir():
        if not path.name.startswith("."):
            put(path.name, path.read_bytes(), "prepared")
    how = ["", "busy", "cut", "", "slow"]
    monkeypatch.setattr(Faulty, "faults", staticmethod(lambda number: how[number % len(how)]))
    sources = [open_source(str(folder), None) for folder in (local, remote.copy_of("s3://films/prepared"))]
    rows = torch.arange(len(sources[0]))
    one, two = (source.read(rows, sample_keys(0, 0, rows)) for source in sources)
    assert not one.replaced and not two.replaced
    assert all(torch.equal(one.views[name], two.views[name]) for name in one.views)

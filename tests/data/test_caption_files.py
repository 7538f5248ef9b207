"""Captions that lie beside films and pictures, or inside their files, arrive in the collection."""

import json

import av
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from coview.data.captions import beside, read_caption
from coview.data.collection import Collection
from coview.data.index import index_source
from coview.errors import UsageError
from coview.media.probe import probe
from coview.media.told import MOST, told

VTT = """WEBVTT - made by hand

NOTE this says nothing
--> not a time

STYLE
::cue { color: red }

1
00:00.000 --> 00:02.000 align:start
<v Ann>Hello, <b>you</b> &amp; me

00:02.000 --> 00:03.000
Hello, you & me
नमस्ते
"""
SRT = "1\r\n00:00:00,000 --> 00:00:02,000\r\n{\\an8}A dog\r\nbarks\r\n\r\n2\r\n00:03,000 --> 00:04,000\r\n- 42 -\r\n"


@pytest.mark.parametrize(
    ("name", "text", "caption"),
    [
        ("a.txt", "\ufeff  A cat\n on a mat ", "A cat on a mat"),
        ("a.txt", " \n", None),
        (
            "a.json",
            json.dumps({"description": "on a mat", "title": "Cat", "tags": ["猫", 7], "id": "x"}),
            "Cat on a mat 猫",
        ),
        ("a.json", '"only a text"', "only a text"),
        ("a.json", "{}", None),
        ("a.vtt", VTT, "Hello, you & me नमस्ते"),
        ("a.srt", SRT, "A dog barks - 42 -"),
        ("a.srt", SRT.replace("\r\n", "\r"), "A dog barks - 42 -"),
        ("a.txt", "a\0cat", "a cat"),
        ("a.vtt", "00:00.000 --> 00:02.000\n1 < 2 <i>is", "1 < 2 <i>is"[:6] + "is"),
    ],
)
def test_captions_are_read(tmp_path, name, text, caption):
    (tmp_path / name).write_bytes(text.encode())
    assert read_caption(tmp_path / name) == caption


CUE = "00:00.000 --> 00:02.000\n"


# Each takes minutes to hours where time grows with the square of the length.
@pytest.mark.parametrize("text", ["1" * 200_000, CUE + "<" * 200_000, CUE + "{\\" * 200_000, CUE + "1 " * 99_999])
def test_long_lines_of_subtitles_are_read_at_once(tmp_path, text):
    (tmp_path / "a.srt").write_text(text)
    told = text.removeprefix(CUE).strip()
    assert read_caption(tmp_path / "a.srt") == (told if text.startswith(CUE) else None)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"{"),
        ("a.txt", b"\xff\xfe"),
        ("a.srt", b"\xe9t\xe9"),
        ("a.json", b'"half of a letter: \\ud83d"'),
        ("a.srt", f"{CUE}&#{'1' * 5000};".encode()),
    ],
)
def test_what_is_no_caption_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=f"{name}: cannot be read as a caption"):
        read_caption(tmp_path / name)


def test_the_first_of_the_endings_counts(tmp_path):
    film = tmp_path / "one.two.mp4"
    names = [tmp_path / f"one.two{end}" for end in (".srt", ".info.json", ".txt")]
    assert beside(film, names) == names[2] and beside(film, names[:2]) == names[1]
    assert beside(film, [tmp_path / "one.txt", film]) is None


def test_what_files_say_of_themselves():
    assert told({"TITLE": " A  dog ", "encoder": "Lavf", "description": "barks\0", "comment": "x"}) == "A dog barks"
    assert told({"title": "caf\udce9"}) == "caf\ufffd"  # as PyAV 19 reads a title that is no UTF-8
    assert told({"title": "same", "synopsis": "same", "description": b"bytes"}) == "same"
    assert told({}) == "" and len(told({"title": "x" * 2 * MOST})) == MOST


def test_the_title_of_a_container(tmp_path):
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        container.metadata["title"] = "Le coq"
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        noise = np.random.default_rng(0).integers(-9999, 9999, (1, 16_000), dtype=np.int16)
        frame = av.AudioFrame.from_ndarray(noise, "s16", "mono")
        frame.rate = 16_000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert probe(tmp_path / "a.wav").told == "Le coq"
    content = (tmp_path / "a.wav").read_bytes()
    assert b"Le coq" in content
    (tmp_path / "old.wav").write_bytes(content.replace(b"Le coq", b"L'\xe9t\xe9 "))
    assert probe(tmp_path / "old.wav").told == "L'\ufffdt\ufffd"


def test_a_folder_of_pictures_with_captions_beside_and_inside(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    draw = np.random.default_rng(0)

    def save(name, **how):
        Image.fromarray(draw.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(folder / name, **how)

    inside, exif = PngInfo(), Image.Exif()
    inside.add_itxt("Title", "Чайка")
    exif[0x010E] = "a gull, чайка".encode()
    save("inside.png", pnginfo=inside)
    save("exif.jpg", exif=exif)
    save("both.png", pnginfo=inside)
    for name in ("empty", "broken", "plain"):
        save(f"{name}.png")
    for name, text in (("both.txt", "beside"), ("empty.txt", ""), ("broken.json", "{"), ("other.txt", "notes")):
        (folder / name).write_text(text, encoding="utf-8")
    index_source(str(folder), tmp_path / "collection", workers=0)
    collection = Collection.open(tmp_path / "collection")
    captions = {row["id"]: row["caption"] for row in collection.columns(["id", "caption"]).to_pylist()}
    assert captions == {
        "inside.png": "Чайка", "exif.jpg": "a gull, чайка", "both.png": "beside",
        "empty.png": None, "broken.png": None, "plain.png": None,
    }  # fmt: skip
    assert collection.about["ignored"] == {".txt": 1}
    assert any(
        "1 captions beside recordings are empty, such as empty.txt" in note for note in collection.about["notes"]
    )
    assert "broken.json" in str(collection.quarantine())

"""Which recordings the page shows: conditions, orders, counts; and the collection that changes on the disk."""

import dataclasses
import json

import numpy as np
import pytest
from serving import PAGE, client_of

from coview.data.adapters import Refused
from coview.data.collection import Collection, write_tables
from coview.data.recording import Recording
from coview.search.filters import ConditionError, Rows, read_conditions

KINDS = ("picture and sound", "picture", "sound", "still")


def recordings(count: int) -> list[Recording]:
    generator = np.random.default_rng(0)
    found = []
    for k in range(count):
        kind = KINDS[k % 4]
        seconds = 0.0 if kind == "still" else float(generator.uniform(1, 100))
        found.append(
            Recording(
                id=f"{k:04d}", path=f"films/{k}.mp4", start=0.0, end=seconds, duration=seconds,
                has_video=kind != "sound", has_audio="sound" in kind, peak=float(generator.uniform()),
                label=[None, "dog", "cat"][k % 3], flags=(("silent",), ("rotated", "silent"), ())[k % 3],
                split="train" if k % 5 else "test", caption="<img src=x onerror=alert(1)> Größe" if k == 7 else None,
                video_codec="h264" if kind != "sound" else "", audio_codec="aac" if "sound" in kind else "",
            )
        )  # fmt: skip
    return found


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "collection"
    place.mkdir()
    refused = [Refused(path="x\u202e.mp4", reason="truncated", message="its header is cut off")]
    write_tables(place, recordings(240), refused, {"source": "s", "root": ".", "ignored": {}, "report": {}})
    return place


CONDITIONS = [
    [],
    [{"column": "label", "in": ["dog", ""]}],
    [{"column": "flags", "in": ["rotated"]}, {"column": "split", "in": ["train"]}],
    [{"column": "kind", "in": ["sound", "still"]}, {"column": "duration", "from": 0, "to": 50}],
    [{"column": "words", "has": "GRÖSSE"}],
    [{"column": "words", "has": "Dog"}],
    [{"column": "words", "has": "films/1"}, {"column": "codec", "in": ["h264 aac"]}],
    [{"column": "label", "in": []}],
]


def fulfils(recording: Recording, condition: dict) -> bool:
    kind = KINDS[int(recording.id) % 4]
    values = {"label": [recording.label or ""], "flags": recording.flags, "split": [recording.split], "kind": [kind]}
    values["codec"] = [f"{recording.video_codec} {recording.audio_codec}".strip()]
    if condition["column"] == "duration":
        return condition["from"] <= recording.duration < condition["to"]
    if condition["column"] == "words":
        said = condition["has"].lower()
        return any(
            said in (text or "").lower() for text in (recording.id, recording.path, recording.label, recording.caption)
        )
    return bool(set(values[condition["column"]]) & set(condition["in"]))


@pytest.mark.parametrize("conditions", CONDITIONS)
def test_rows_are_those_that_fulfil_all_conditions_in_order(folder, conditions):
    collection = Collection.open(folder)
    rows = Rows(collection)
    wanted = [row for row, found in enumerate(collection) if all(fulfils(found, each) for each in conditions)]
    mask = rows.mask(conditions)
    assert rows.order(mask).tolist() == wanted
    peaks = collection.column("peak")
    assert rows.order(mask, "peak", down=True).tolist() == sorted(wanted, key=lambda row: (-peaks[row], row))
    labels = [label or "" for label in collection.column("label")]
    assert rows.order(mask, "label").tolist() == sorted(wanted, key=lambda row: (labels[row], row))


def test_a_facet_counts_what_its_values_would_show(folder):
    rows = Rows(Collection.open(folder))
    conditions = [{"column": "label", "in": ["dog"]}, {"column": "kind", "in": ["sound"]}]
    found = rows.facets(conditions)
    for value, number in found["label"]["values"]:
        assert number == rows.mask([{"column": "label", "in": [value]}, conditions[1]]).sum()
    assert sum(found["duration"]["counts"]) == rows.mask(conditions).sum()
    assert dict(map(tuple, found["kind"]["values"]))["sound"] == rows.mask(conditions).sum()


def test_a_bar_shows_as_many_as_it_says(tmp_path):
    lasting = [0.0, 1.0, 2.0, 2.0, 11.99, 12.00044]  # borders, and a longest one that rounding would cut off
    made = [dataclasses.replace(recordings(1)[0], id=str(k), end=s, duration=s) for k, s in enumerate(lasting)]
    write_tables(tmp_path, made, [], {"source": "s", "root": ".", "ignored": {}, "report": {}})
    rows = Rows(Collection.open(tmp_path))
    found = rows.facets([])["duration"]
    for first, end, number in zip(found["ends"], found["ends"][1:], found["counts"], strict=False):
        assert number == rows.mask([{"column": "duration", "from": first, "to": end}]).sum()
    assert sum(found["counts"]) == len(lasting)


def test_numbers_that_json_has_no_word_for_are_left_out(tmp_path):
    loud = [dataclasses.replace(recordings(1)[0], peak=float("inf"))]
    write_tables(tmp_path, loud, [], {"source": "s", "root": ".", "ignored": {}, "report": {}})
    with client_of(tmp_path, tmp_path / "cache") as page:
        assert page.get("/api/recordings/0", params={"c": page.c}).json()["peak"] is None


@pytest.mark.parametrize("condition", [
    {"column": "digest", "in": ["a"]}, {"column": "label", "in": "dog"}, {"column": "label", "in": [1]},
    {"column": "duration", "from": 0}, {"column": "duration", "from": 0, "to": float("nan")}, {"column": "words"},
    {"column": "duration", "from": 0, "to": 10**400},
    {"column": "label", "in": [], "more": 1}, {}, [], "label",
])  # fmt: skip
def test_other_conditions_are_refused(folder, condition):
    with pytest.raises(ConditionError, match="columns: kind"):
        Rows(Collection.open(folder)).mask([condition])


def test_conditions_in_words_are_the_same_language():
    words = ["label=dog", "split=train", "label=a=b, c", "duration=1..5", "words=two words", "words=x", "duration=2.."]
    assert read_conditions(words) == [
        {"column": "duration", "from": 1.0, "to": 5.0},
        {"column": "words", "has": "two words"},
        {"column": "words", "has": "x"},
        {"column": "duration", "from": 2.0, "to": 5e11},
        {"column": "label", "in": ["dog", "a=b, c"]},
        {"column": "split", "in": ["train"]},
    ]
    for wrong in (
        "label",
        "digest=a",
        "duration=5",
        "duration=a..b",
        "duration=1..2..3",
        "duration=nan..3",
        "duration=1..1e13",
        "",
    ):
        with pytest.raises(ConditionError):
            read_conditions([wrong])


def test_text_that_is_none_and_too_many_conditions_are_refused(folder):
    rows = Rows(Collection.open(folder))
    for wrong in (["label=\udcff"], ["words=\ud800"], ["words=a"] * 101):
        with pytest.raises(ConditionError):
            rows.mask(read_conditions(wrong))


def test_a_value_that_nothing_has_is_answered_by_the_nearest(folder):
    rows = Rows(Collection.open(folder))
    assert rows.nearest_value(read_conditions(["split=train", "label=dgo"])) == "label=dog"
    assert rows.nearest_value(read_conditions(["label=dog", "flags=upside-down", "words=x"])) == ""


def test_the_server_answers_pages_of_rows_and_what_could_not_be_read(folder):
    with client_of(folder, folder.parent / "cache") as page:

        def asked(**more):
            return page.post("/api/rows", json={"c": page.c, **more}, headers=PAGE)

        found = asked(offset=100, limit=3).json()
        assert (found["total"], found["of"], [row["row"] for row in found["rows"]]) == (240, 240, [100, 101, 102])
        assert [
            asked(**wrong).status_code for wrong in ({"limit": 501}, {"limit": -1}, {"offset": -1}, {"sort": "path"})
        ] == [400] * 4
        assert asked(offset=10**18).json()["rows"] == []
        assert page.get("/api/quarantine").json() == [
            {"path": "x\u202e.mp4", "reason": "truncated", "message": "its header is cut off"}
        ]
        assert page.get("/api/recordings/7", params={"c": page.c}).json()["caption"].startswith("<img")
        assert page.get("/api/recordings/240", params={"c": page.c}).status_code == 404


def test_a_collection_that_changes_is_noticed(folder):
    with client_of(folder, folder.parent / "cache") as page:
        ask = {"json": {"c": page.c}, "headers": PAGE}
        assert page.post("/api/rows", **ask).json()["of"] == 240
        fewer = [dataclasses.replace(found, label="other") for found in recordings(10)]
        write_tables(folder, fewer, [], {"source": "s", "root": ".", "ignored": {}, "report": {}})
        assert page.post("/api/rows", **ask).status_code == 409
        assert page.get("/api/about").json()["counts"]["recordings"] == 10
        (folder / "collection.json").write_text("{}")
        assert page.get("/api/about").status_code == 503


def test_no_file_of_the_page_names_another_place_or_writes_markup(folder):
    with client_of(folder, folder.parent / "cache") as page:
        names = [
            "/",
            *(
                f"/static/{name}.js"
                for name in (
                    "main",
                    "page",
                    "tile",
                    "wave",
                    "grid",
                    "browse",
                    "recording",
                    "search",
                    "asking",
                    "query",
                    "second",
                )
            ),
        ]
        for name in [*names, "/static/coview.css"]:
            text = page.get(name).text
            assert "https://" not in text and "http://" not in text, name
            assert not [
                word
                for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "@import", "style=")
                if word in text
            ]
        json.dumps(names)

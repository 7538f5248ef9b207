"""What two parts share is found by bytes, by content and by id, and what is not known is not called clean."""

from types import SimpleNamespace

from coview.data.leaks import named_by_captions, shared


def part(name, ids, digests=None, contents=None):
    return SimpleNamespace(name=name, ids=ids, digests=digests, contents=contents)


def test_renamed_copies_and_appended_bytes_are_found():
    train = part("train", ["a", "b", "c"], ["1", "2", "3"], ["x", "y", "z"])
    test = part("test", ["p", "q", "r"], ["2", "9", "8"], ["y", "z", "w"])
    found = shared(train, test)
    assert found.files == [("b", "p")] and found.contents == [("c", "q")] and found.ids == []
    assert found.checked and found and found.count == 2
    assert found.sentence() == (
        "2 recordings of test are in train too (1 by the file's bytes, 1 by content), such as p is b; q is c"
    )


def test_apart_is_said_only_where_it_was_checked():
    one, two = part("train", ["a"], ["1"], ["x"]), part("test", ["b"], ["2"], ["y"])
    assert not shared(one, two) and shared(one, two).checked
    assert shared(one, two).sentence() == "test shares no file and no content with train"
    for other in (part("test", ["b"]), part("test", ["b"], ["2"])):
        for found in (shared(one, other), shared(other, one)):
            assert not found and not found.checked and "is not known" in found.sentence()


def test_ids_count_only_where_files_are_not_known_to_differ():
    assert shared(part("t", ["0001"]), part("u", ["0001"])).ids == [("0001", "0001")]
    assert not shared(part("t", ["0001"], ["1"], ["x"]), part("u", ["0001"], ["2"], ["y"]))
    assert shared(part("t", ["0001"], ["1"], ["x"]), part("u", ["0001"])).ids == [("0001", "0001")]


def test_unknown_digests_are_not_equal():
    assert not shared(part("t", ["a"], [""], [""]), part("u", ["b"], [""], [""]))


def test_a_recording_counts_once_whatever_it_shares():
    found = shared(part("t", ["a", "b"], ["1", "1"], ["x", "x"]), part("u", ["a"], ["1"], ["x"]))
    assert found.files == [("a", "a")] and found.contents == [] and found.ids == [] and found.count == 1


def test_captions_that_name_their_file():
    rows = [
        ("clips/00042.mp4", "00042"),
        ("clips/00043.mp4", "Clip 00043, a film"),
        ("clips/dog_bark.mp4", "Dog bark"),
        ("clips/dog.mp4", "a dog barks"),
        ("clips/7.mp4", "7 dwarfs"),
        ("clips/none.mp4", None),
        ("clips/x1.mp4", "clips/x1.mp4"),
    ]
    assert [path[6:] for path in named_by_captions(rows)] == ["00042.mp4", "00043.mp4", "dog_bark.mp4", "x1.mp4"]

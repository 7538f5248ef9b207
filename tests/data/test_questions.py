"""Questions in their official files: what is read, and files that are not as they should be."""

import json

import pytest

from coview.data.questions import Asked, frequent_answers, plain_answer, read_referred, read_vcr, read_vqa
from coview.errors import CoviewError, InputError


def write(path, value):
    path.write_text(json.dumps(value))
    return path


def vqa(folder, counts):
    questions = {"questions": [{"image_id": 9, "question": "What is it?", "question_id": 90}]}
    said = [answer for answer, count in counts.items() for _ in range(count)]
    answers = [{"answer": answer, "answer_confidence": "yes", "answer_id": n} for n, answer in enumerate(said)]
    annotations = {"annotations": [{"question_id": 90, "image_id": 9, "answers": answers}]}
    return write(folder / "questions.json", questions), write(folder / "annotations.json", annotations)


def test_vqa_scores_are_the_official_accuracy(tmp_path):
    files = vqa(tmp_path, {"A dog.": 1, "dog": 1, "cat": 3, "wolf": 1, "the fox": 4})
    (item,) = read_vqa(*files, named="COCO_train2014_{:012d}")
    assert item.picture == "COCO_train2014_000000000009" and item.text == "What is it?"
    # 2 of 10: 8 times min(2/3, 1), twice min(1/3, 1).
    assert item.scores == pytest.approx({"dog": 0.6, "cat": 0.9, "wolf": 0.3, "fox": 1.0})
    assert plain_answer("The A an  x.") == "x" and plain_answer("U.S. 3.5") == "us 3.5"


def test_answers_that_are_asked_for_often():
    items = [Asked("1", "?", {"yes": 1.0, "no": 0.3, "never": 0.0})] * 9 + [Asked("1", "?", {"maybe": 1.0})] * 8
    assert frequent_answers(items) == ["no", "yes"]
    assert frequent_answers(items, least=8) == ["maybe", "no", "yes"]


VCR = {
    "img_fn": "a/b.jpg", "objects": ["person", "dog", "person"], "annot_id": "train-0", "answer_label": 1,
    "rationale_label": 0, "question": ["Why", "does", [0, 1], "run", "?"],
    "answer_choices": [["no", "."], [[2], "calls", "."]], "rationale_choices": [["they", "hear"], ["rain"]],
}  # fmt: skip


def test_vcr_spells_things_and_stands_the_right_answer_behind_the_question(tmp_path):
    path = tmp_path / "val.jsonl"
    path.write_text(json.dumps(VCR) + "\n")
    (answer,), (reason,) = read_vcr(path), read_vcr(path, "rationale")
    assert answer.text == "Why does Casey and dog run ?" and answer.options == ("no .", "Jessie calls .")
    assert (answer.picture, answer.right, answer.number) == ("a/b.jpg", 1, "train-0")
    assert reason.text == "Why does Casey and dog run ? Jessie calls ." and reason.right == 0


def test_lines_end_where_json_lines_do(tmp_path):
    """A word may hold what Unicode takes for the end of a line; empty lines are none."""
    path = tmp_path / "val.jsonl"
    path.write_text(json.dumps(VCR | {"question": ["a\u2028b\x85"]}, ensure_ascii=False) + "\n\n", encoding="utf-8")
    (item,) = read_vcr(path)
    assert item.text == "a\u2028b\x85"


def refs(folder, **changes):
    ref = {"ref_id": 1, "ann_id": 5, "image_id": 7, "split": "val", "sentences": [{"sent": "left"}, {"sent": "red"}]}
    whole = {"images": [{"id": 7, "width": 200, "height": 100}], "annotations": [{"id": 5, "bbox": [20, 10, 100, 50]}]}
    return write(folder / "refs.json", [ref | changes]), write(folder / "instances.json", whole)


def test_boxes_of_referring_expressions_are_shares(tmp_path):
    first, second = read_referred(*refs(tmp_path), "val")
    assert (first.text, second.text) == ("left", "red") and first.picture == "7"
    assert first.box == pytest.approx((0.1, 0.1, 0.6, 0.6))


def test_files_that_are_not_as_they_should_be_are_named(tmp_path):
    with pytest.raises(InputError, match="no expression belongs to the split 'testA'"):
        read_referred(*refs(tmp_path), "testA")
    with pytest.raises(InputError, match=r"refs\.json: not as the official file \(it lacks 9"):
        read_referred(*refs(tmp_path, image_id=9), "val")
    vast = {"images": [{"id": 7, "width": 10**400, "height": 1}], "annotations": []}
    with pytest.raises(InputError, match=r"vast\.json: not as the official file"):
        read_referred(refs(tmp_path)[0], write(tmp_path / "vast.json", vast), "val")
    path = tmp_path / "val.jsonl"
    for wrong in ({"answer_label": 2}, {"objects": []}, {"answer_choices": None}):
        path.write_text(json.dumps(VCR) + "\n" + json.dumps(VCR | wrong) + "\n")
        with pytest.raises(InputError, match=r"val\.jsonl, line 2"):
            read_vcr(path)
    for text in ("", "[1", '{"questions": 3}', "[]", '{"questions": [3]}'):
        path.write_text(text)
        with pytest.raises(InputError, match=r"val\.jsonl: not as the official file"):
            read_vqa(path, path)
    pickled = tmp_path / "refs(unc).p"
    pickled.write_bytes(b"\x80\x04]\x94.")
    with pytest.raises(CoviewError, match="refs"):
        read_referred(pickled, refs(tmp_path)[1], "val")

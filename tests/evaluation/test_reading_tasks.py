"""VQA, VCR and referring expressions on made scenes, in the layouts of their official files: what is in the regions is
needed, and learnt from."""

import dataclasses
import json

import pytest
import torch

from coview.data.augment import AugmentSettings
from coview.data.dataset_source import DatasetSource
from coview.data.preprocess import Preprocess
from coview.data.questions import Choice, Referred, frequent_answers, read_referred, read_vcr, read_vqa
from coview.data.views import FeaturesView, TextView
from coview.encoders.co_attention import StreamSize, TwoStreamSize
from coview.errors import UsageError
from coview.evaluation.bench import Bench
from coview.evaluation.reading_tasks import Answers, Learning, Options, Reader, Things, learn, scores
from coview.evaluation.retrieval import retrieve
from coview.methods import build, load_method
from coview.methods.contract import Facts
from coview.methods.vilbert import ViLBERT, ViLBERTSettings
from coview.model import Model
from coview.randomness import integers, make_key, normal, uniform

COLOURS, SHAPES = ("red", "green", "blue", "yellow"), ("circle", "square", "cross")
WORDS = (*COLOURS, *SHAPES, "what", "colour", "is", "the", "there", "it", "beside", "a")
ONE = StreamSize(width=32, heads=4, hidden=64, layers=1)
SETTINGS = dataclasses.replace(
    ViLBERTSettings.tiny(),
    regions=FeaturesView(dim=7, steps=3),
    boxes=FeaturesView(dim=4, steps=3),
    classes=FeaturesView(dim=9, steps=3),
    text=TextView(length=60, tokens="words"),
    tokens=14,
    size=TwoStreamSize(text=ONE, regions=ONE, joint=32, heads=4, text_anchors=(0, 1), region_anchors=(0, 1)),
)
SIDE = 100  # pixels of a picture


class Scenes:
    """Three things of three shapes, each of a colour, in a row; pictures "0", "1", ..."""

    def __init__(self, count, seed):
        key = make_key(seed, torch.arange(count))
        self.key, self.colour = key, integers(key, 0, 4, 3)
        self.shape = uniform(key, 1, 3).argsort(1)
        left = torch.arange(3) / 3 + 0.02 + 0.1 * uniform(key, 2, 3)
        top = 0.7 * uniform(key, 3, 3)
        self.boxes = torch.stack([left, top, left + 0.2, top + 0.2], 2)
        one = torch.nn.functional.one_hot
        self.regions = torch.cat([one(self.colour, 4), one(self.shape, 3)], 2) + 0.1 * normal(key, 4, 3, 7)

    def __len__(self):
        return len(self.key)

    def __getitem__(self, row):
        return {"regions": self.regions[row], "boxes": self.boxes[row]}

    def source(self):
        views = {"regions": SETTINGS.regions, "boxes": SETTINGS.boxes}
        return DatasetSource(self, views, name="scenes", ids=[str(row) for row in range(len(self))])

    def name(self, row, thing):
        return f"{COLOURS[self.colour[row, thing]]} {SHAPES[self.shape[row, thing]]}"


def vqa(scenes, folder):
    asked, said = [], []
    for row, thing in enumerate(integers(scenes.key, 5, 3).tolist()):
        question = f"what colour is the {SHAPES[scenes.shape[row, thing]]}"
        asked.append({"image_id": row, "question": question, "question_id": row})
        answers = [{"answer": COLOURS[scenes.colour[row, thing]], "answer_id": n} for n in range(10)]
        said.append({"image_id": row, "question_id": row, "answers": answers})
    (folder / "q.json").write_text(json.dumps({"questions": asked}))
    (folder / "a.json").write_text(json.dumps({"annotations": said}))
    return read_vqa(folder / "q.json", folder / "a.json")


def vcr(scenes, folder, kind):
    lines = []
    for row in range(len(scenes)):
        entry = {"img_fn": str(row), "annot_id": str(row), "objects": [], "question": ["what", "is", "there"]}
        for place, which in enumerate(("answer", "rationale")):
            shape = int(scenes.shape[row, place])
            right = int(scenes.colour[row, place])
            order = uniform(make_key(row, place), 6, 4).argsort().tolist()
            entry[f"{which}_choices"] = [["a", COLOURS[colour], SHAPES[shape]] for colour in order]
            entry[f"{which}_label"] = order.index(right)
        lines.append(json.dumps(entry))
    (folder / "vcr.jsonl").write_text("\n".join(lines))
    return read_vcr(folder / "vcr.jsonl", kind)


def referred(scenes, folder):
    refs, things = [], []
    for row, thing in enumerate(integers(scenes.key, 5, 3).tolist()):
        sentence = {"sent": f"the {scenes.name(row, thing)}"}
        refs.append({"ref_id": row, "ann_id": row, "image_id": row, "split": "val", "sentences": [sentence]})
        left, top, right, bottom = (SIDE * scenes.boxes[row, thing]).tolist()
        things.append({"id": row, "bbox": [left, top, right - left, bottom - top]})
    images = [{"id": row, "width": SIDE, "height": SIDE} for row in range(len(scenes))]
    (folder / "refs.json").write_text(json.dumps(refs))
    (folder / "instances.json").write_text(json.dumps({"images": images, "annotations": things}))
    return read_referred(folder / "refs.json", folder / "instances.json", "val")


def model():
    torch.manual_seed(0)
    method = ViLBERT(SETTINGS, Facts(rows=2, training=False)).eval()
    method.reader.take(dict.fromkeys(WORDS, 1), 1)
    return Model(method, Preprocess(method.views, AugmentSettings()), {})


TASKS = {
    "vqa": (vqa, lambda items: Answers(32, frequent_answers(items), dropout=0.0), 0.25),
    "vcr": (lambda scenes, folder: vcr(scenes, folder, "answer"), lambda items: Options(32), 0.25),
    "vcr-rationale": (lambda scenes, folder: vcr(scenes, folder, "rationale"), lambda items: Options(32), 0.25),
    "refer": (referred, lambda items: Things(32), 1 / 3),
}


def figure(task, folder, blind, epochs=8, count=1500, lr=3e-3, size=64):
    """Return accuracy on scenes that were not learnt from; chance is a fourth, of things a third."""
    items, head, _ = TASKS[task]
    scenes, others = Scenes(count, 0), Scenes(600, 1)
    known = items(scenes, folder)
    torch.manual_seed(0)
    reader = Reader(model(), scenes.source(), head(known), blind)
    learn(reader, known, Learning(lr=lr, batch_size=size, epochs=epochs))
    reader.source = Reader(model(), others.source(), reader.head).source
    reader.rows = {name: row for row, name in enumerate(others.source().ids)}
    return scores(reader, items(others, folder))


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_a_made_task_is_learnt_from_what_is_in_the_regions(task, tmp_path):
    chance = TASKS[task][2]
    assert float(figure(task, tmp_path, blind=False).mean()) > 0.85
    assert float(figure(task, tmp_path, blind=True).mean()) < chance + 0.1


def test_a_step_of_every_task(tmp_path):
    for task, (items, head, _) in TASKS.items():
        scenes = Scenes(24, 0)
        known = items(scenes, tmp_path)
        first = head(known * 9) if task == "vqa" else head(known)
        kept = model()
        reader = Reader(kept, scenes.source(), first)
        before = kept.digest
        learn(reader, known, Learning(lr=1e-3, batch_size=16, epochs=1))
        found = scores(reader, known, batch_size=7)
        assert found.shape == (24,) and float(found.min()) >= 0 and float(found.max()) <= 1
        assert kept.digest == before, "the model itself stays"


def test_retrieval_reads_every_pair():
    scenes = Scenes(12, 0)

    class Told(Scenes):
        def __getitem__(self, row):
            return super().__getitem__(row) | {"text": SETTINGS.text.spell(f"the {self.name(row, 0)}")}

    views = {"regions": SETTINGS.regions, "boxes": SETTINGS.boxes, "text": SETTINGS.text}
    source = DatasetSource(Told(12, 0), views, name="told", ids=[str(row) for row in range(12)])
    with Bench(model(), None, source, name="run", batch_size=5) as bench:
        retrieve(bench)
    found = {measured.name: measured for measured in bench.result.results}
    assert {"retrieval_r2t_r1/run", "retrieval_t2r_r1/run", "retrieval_t2r_median_rank/run"} <= set(found)
    assert found["retrieval_r2t_r1/run"].n == len(scenes)
    method, batch = bench.model.method, bench.model.prepared(source.read_window(torch.arange(12), 0, 1))
    with torch.no_grad():
        matrix = method.belonging(batch, batch).double()
    rank = 1 + (matrix > matrix.diagonal()[:, None]).sum(1)
    texts = [scenes.name(row, 0) for row in range(12)]
    if len(set(texts)) == 12:
        assert found["retrieval_r2t_r1/run"].value == float((rank == 1).double().mean())


def test_pictures_that_are_not_there_and_methods_that_read_no_pairs_are_refused():
    source = Scenes(4, 0).source()
    with pytest.raises(UsageError, match="none of the pictures"):
        scores(Reader(model(), source, Things(32)), [Referred("9", "it", (0.0, 0.0, 1.0, 1.0))])
    other = build("weak-captions", load_method("weak-captions").Settings.tiny(), Facts(rows=4))
    with pytest.raises(UsageError, match="does not read a picture and a text together"):
        Reader(Model(other, Preprocess(other.views, AugmentSettings()), {}), source, Things(32))


def test_options_that_differ_in_number_and_no_answers_are_refused():
    reader = Reader(model(), Scenes(4, 0).source(), Options(32))
    items = [Choice("0", "?", ("a", "b", "c"), 0, "0"), Choice("1", "?", ("a", "b", "c", "d", "e"), 4, "1")]
    with pytest.raises(UsageError, match="3 and 5 options"):
        scores(reader, items)
    assert len(scores(reader, items, batch_size=1)) == 2
    with pytest.raises(UsageError, match="no answer to choose from"):
        Answers(32, [])

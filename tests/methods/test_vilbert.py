"""ViLBERT: the released model's streams, maps and losses, and what its card says must hold."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import worlds
from safetensors.torch import save_file

from coview.data.dataset_source import DatasetSource
from coview.data.views import Batch, FeaturesView
from coview.encoders.caption_tokens import framed
from coview.encoders.co_attention import AttentionBlock, StreamSize, TwoStreamSize
from coview.encoders.regions import with_whole
from coview.errors import InputError, SettingsError, UsageError
from coview.methods.contract import Facts
from coview.methods.vilbert import ViLBERT, ViLBERTSettings
from coview.objectives.masked_modelling import region_costs, word_costs
from coview.settings import from_dict, to_dict
from coview.training.takeover import take_weights

TINY = ViLBERTSettings.tiny()
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "vilbert.npz")
# Names of the released code -> ours; its second projections of queries (q_dense) reach no output of its own.
RENAMED = (
    (r"bert\.embeddings\.word_embeddings\.", "encoders.text.words."),
    (r"bert\.embeddings\.position_embeddings\.", "encoders.text.places."),
    (r"bert\.embeddings\.token_type_embeddings\.", "encoders.text.segments."),
    (r"bert\.embeddings\.LayerNorm\.", "encoders.text.norm."),
    (r"bert\.v_embeddings\.image_embeddings\.", "encoders.regions.features."),
    (r"bert\.v_embeddings\.image_location_embeddings\.", "encoders.regions.boxes."),
    (r"bert\.v_embeddings\.LayerNorm\.", "encoders.regions.norm."),
    (r"bert\.encoder\.layer\.", "makers.streams.text."),
    (r"bert\.encoder\.v_layer\.", "makers.streams.regions."),
    (r"bert\.encoder\.c_layer\.(\d+)\.biattention\.query1", r"makers.streams.regions_see.\1.query"),
    (r"bert\.encoder\.c_layer\.(\d+)\.biattention\.(key|value)1", r"makers.streams.text_sees.\1.\2"),
    (r"bert\.encoder\.c_layer\.(\d+)\.biattention\.query2", r"makers.streams.text_sees.\1.query"),
    (r"bert\.encoder\.c_layer\.(\d+)\.biattention\.(key|value)2", r"makers.streams.regions_see.\1.\2"),
    (r"bert\.encoder\.c_layer\.(\d+)\.biOutput\.dense1", r"makers.streams.regions_see.\1.attended"),
    (r"bert\.encoder\.c_layer\.(\d+)\.biOutput\.LayerNorm1", r"makers.streams.regions_see.\1.norm_attended"),
    (r"bert\.encoder\.c_layer\.(\d+)\.biOutput\.dense2", r"makers.streams.text_sees.\1.attended"),
    (r"bert\.encoder\.c_layer\.(\d+)\.biOutput\.LayerNorm2", r"makers.streams.text_sees.\1.norm_attended"),
    (r"bert\.encoder\.c_layer\.(\d+)\.v_", r"makers.streams.regions_see.\1."),
    (r"bert\.encoder\.c_layer\.(\d+)\.t_", r"makers.streams.text_sees.\1."),
    (r"attention\.self\.", ""),
    (r"attention\.output\.dense", "attended"),
    (r"attention\.output\.LayerNorm", "norm_attended"),
    (r"intermediate\.dense", "wide"),
    (r"output\.dense", "narrow"),
    (r"output\.LayerNorm", "norm"),
    (r"bert\.t_pooler\.dense", "makers.text.linear"),
    (r"bert\.v_pooler\.dense", "makers.regions.linear"),
    (r"cls\.predictions\.bias", "heads.words.bias"),
    (r"cls\.predictions\.transform\.", "heads.words."),
    (r"cls\.imagePredictions\.transform\.", "heads.regions."),
    (r"cls\.imagePredictions\.decoder\.", "heads.regions."),
    (r"cls\.bi_seq_relationship\.", "makers.alignment.1."),
    (r"LayerNorm", "norm"),
)


class Arrays:
    """The golden arrays; knows which were used."""

    def __init__(self):
        self.used = set()

    def __call__(self, name):
        self.used.add(name)
        array = torch.from_numpy(np.array(GOLDEN[name]))
        return array.double() if array.is_floating_point() else array

    def number(self, name):
        return int(self(f"cfg.{name}"))


def renamed(name):
    for theirs, ours in RENAMED:
        name = re.sub(theirs, ours, name)
    return name


def released(arrays):
    """Return our model of the golden sizes with the golden weights, float64."""
    n = arrays.number
    text, regions = (
        StreamSize(width=n(f"h{s}"), heads=n(f"n{s}"), hidden=n(f"i{s}"), layers=n(f"l{s}")) for s in ("t", "v")
    )
    steps = n("R") - 1
    settings = dataclasses.replace(
        TINY, regions=FeaturesView(dim=n("vf"), steps=steps), boxes=FeaturesView(dim=4, steps=steps),
        classes=FeaturesView(dim=n("vt"), steps=steps), tokens=n("maxpos"), words=n("vocab"),
        size=TwoStreamSize(
            text=text, regions=regions, joint=n("hb"), heads=n("nb"), text_anchors=tuple(arrays("cfg.tb").tolist()),
            region_anchors=tuple(arrays("cfg.vb").tolist()),
        ),
    )  # fmt: skip
    method = ViLBERT(settings, Facts(rows=3)).double().eval()
    weights = {renamed(name[2:]): arrays(name) for name in GOLDEN if name.startswith("w.") and "q_dense" not in name}
    decoder = weights.pop("cls.predictions.decoder.weight")
    torch.testing.assert_close(decoder, weights["encoders.text.words.weight"], rtol=0, atol=0)
    own = {name: value for name, value in method.state_dict().items() if name not in weights}
    assert set(weights) <= set(method.state_dict()) and all(name.startswith("makers.reader.") for name in own)
    method.load_state_dict(weights | own)
    return method


@torch.no_grad()
def test_golden_model_and_losses_with_no_array_left():
    arrays = Arrays()
    method = released(arrays)
    ids, words_there, there = arrays("input_ids"), arrays("text_mask").bool(), arrays("image_mask").bool()
    assert ids.shape == (arrays.number("B"), arrays.number("T"))
    enter = method.encoders["text"](ids), method.encoders["regions"](arrays("image_feat"), arrays("image_loc"))
    text, regions, steps = method.makers["streams"](*enter, words_there, there)

    def same(found, name):
        torch.testing.assert_close(found, arrays(name), rtol=0, atol=1e-9)

    for number, step in enumerate(steps):
        same(step.text, f"text_after_coatt.{number}")
        same(step.regions, f"image_after_coatt.{number}")
        same(step.text_maps, f"coatt_text_queries_image_keys.{number}")
        same(step.region_maps, f"coatt_image_queries_text_keys.{number}")
    same(text, "text_out")
    same(regions, "image_out")
    same(method.makers["text"](text), "pooled_text")
    same(method.makers["regions"](regions), "pooled_image")
    scores = method.heads["words"](text, method.encoders["text"].words.weight)
    seen, belong = method.heads["regions"](regions), method.makers["alignment"](method.product(text, regions))
    same(scores, "score_text")
    same(seen, "score_image")
    same(belong, "score_align")
    labels, chosen = arrays("lm_labels"), arrays("image_label") == 1
    same(word_costs(scores, labels.clamp(min=0))[labels >= 0].mean()[None], "loss_mlm")
    same(region_costs(seen[:, 1:], arrays("image_target"))[chosen].mean()[None], "loss_mrm_kl")
    same(word_costs(belong, arrays("align_label")).mean()[None], "loss_align")
    streams = method.makers["streams"]
    own, other = arrays("layer.x_text"), arrays("layer.x_image")
    for block, x, sequence, where, name, maps in (
        (streams.text_sees[0], own, other, there, "text", "text_to_image"),
        (streams.regions_see[0], other, own, words_there, "image", "image_to_text"),
    ):
        made, seen_maps = block(x, sequence, where)
        same(made, f"layer.y_{name}")
        same(seen_maps, f"layer.probs_{maps}")
    assert {name for name in GOLDEN if name not in arrays.used} == {n for n in GOLDEN if ".q_dense" in n}


def make(seed=0, **changes):
    torch.manual_seed(seed)
    return ViLBERT(dataclasses.replace(TINY, **changes), Facts(rows=40))


def seen(method, batch):
    return method.streams(method.tokens(batch), method.regions(batch))


@torch.no_grad()
def test_what_fills_a_sequence_is_not_seen():
    method, batch = make().eval(), make().example_batch(4, 0)
    batch.length["regions"] = torch.tensor([6, 2, 3, 1])
    batch.views["text"][:, 20:] = 0
    tokens = method.tokens(batch)
    text, regions = seen(method, batch)
    for name in ("regions", "boxes"):
        batch.views[name][~batch.mask("regions")] = torch.nan
    other_text, other_regions = seen(method, batch)
    there = torch.nn.functional.pad(batch.mask("regions"), (1, 0), value=True)
    torch.testing.assert_close(other_text, text, rtol=0, atol=0)
    torch.testing.assert_close(other_regions[there], regions[there], rtol=0, atol=0)
    shorter = method.streams(tokens[:, :10], method.regions(batch))
    assert not tokens[:, 10:].any()
    torch.testing.assert_close(shorter[0], text[:, :10])


@torch.no_grad()
def test_regions_have_no_order():
    method, batch = make().eval(), make().example_batch(4, 0)
    text, regions = seen(method, batch)
    order = torch.tensor([4, 2, 0, 1, 5, 3])
    for name in ("regions", "boxes"):
        batch.views[name] = batch.views[name][:, order]
    other_text, other_regions = seen(method, batch)
    torch.testing.assert_close(other_text, text, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(other_regions[:, 1:], regions[:, 1:][:, order], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_without_co_attention_the_streams_know_nothing_of_each_other():
    method, batch = make().eval(), make().example_batch(4, 0)
    for block in (*method.makers["streams"].text_sees, *method.makers["streams"].regions_see):
        block.attended.weight.zero_()
    text, regions = seen(method, batch)
    other = dataclasses.replace(batch, views=batch.views | {"text": batch.views["text"].roll(1, 0)})
    torch.testing.assert_close(seen(method, other)[1], regions, rtol=0, atol=0)
    batch.views["regions"] = batch.views["regions"].roll(1, 0)
    torch.testing.assert_close(seen(method, batch)[0], text, rtol=0, atol=0)


@torch.no_grad()
def test_alignment_is_symmetric_in_what_both_streams_say():
    method = make().eval()
    one, other = torch.rand(3, 48), torch.rand(3, 48)
    torch.testing.assert_close(method.makers["alignment"](one * other), method.makers["alignment"](other * one))


@torch.no_grad()
def test_the_whole_picture_is_the_mean_of_the_regions_there_are():
    features, boxes = torch.randn(2, 3, 4), torch.tensor([0.1, 0.2, 0.5, 0.7]).expand(2, 3, 4)
    there = torch.tensor([[True, True, False], [False] * 3])
    found, places, seen_ = with_whole(features, boxes, there)
    torch.testing.assert_close(found[0, 0], features[0, :2].mean(0))
    assert not found[1].any() and seen_[:, 0].all()
    torch.testing.assert_close(places[0, :2], torch.tensor([[0, 0, 1, 1, 1], [0.1, 0.2, 0.5, 0.7, 0.2]]))


def test_texts_are_framed_and_cut():
    words = torch.tensor([[7, 8, 9, 10], [7, 0, 0, 0], [0, 0, 0, 0]])
    assert framed(words, 5, 2, 3).tolist() == [[2, 7, 8, 9, 3], [2, 7, 3, 0, 0], [2, 3, 0, 0, 0]]
    assert framed(words[:, :1], 5, 2, 3).tolist()[2] == [2, 3, 0, 0, 0]


def test_published_sizes():
    with torch.device("meta"):
        method = ViLBERT(ViLBERTSettings(), Facts(rows=2))
    streams = method.makers["streams"]
    assert len(streams.text) == 12 and len(streams.regions) == 6 and len(streams.text_sees) == 6
    assert streams.text_sees[0].query.weight.shape == (1024, 768)
    assert streams.regions[0].wide.weight.shape == (1024, 1024) and streams.text[0].wide.weight.shape == (3072, 768)
    assert from_dict(ViLBERTSettings, to_dict(ViLBERTSettings())) == ViLBERTSettings()


@pytest.mark.parametrize(
    "wrong",
    [
        {"text": {"tokens": "characters"}},
        {"bert": "folder"},
        {"boxes": {"dim": 5}},
        {"regions": {"dim": 8, "steps": 3}},
        {"size": {"text_anchors": [2, 1, 3, 4, 5, 6]}},
        {"size": {"region_anchors": [0, 1, 2, 3, 4, 7]}},
        {"size": {"text_anchors": [1]}},
        {"size": {"heads": 7}},
        {"picture": "grid"},
        {"codes": 1},
        {"dropout": 1.0},
        {"size": {"text": {"width": 10, "heads": 3, "hidden": 8, "layers": 2}}},
        {"classes": {"dim": 4, "steps": 36, "normalise": "statistics"}},
    ],
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(SettingsError):
        from_dict(ViLBERTSettings, wrong)


@torch.no_grad()
def test_embeddings_of_what_there_is():
    method, batch = make().eval(), make().example_batch(4, 0)
    batch.present["boxes"] = torch.tensor([True, False, True, True])
    batch.present["text"] = torch.tensor([True, True, False, True])
    for name in ("boxes", "text"):
        batch.views[name][~batch.present[name]] = 9
    found = method.embed(batch)
    assert set(found) == {"regions", "text", "regions_text"}
    assert [bool(row.any()) for row in found["regions_text"]] == [True, False, False, True]
    assert not found["regions"][1].any() and not found["text"][2].any()
    assert not method.comparable("regions", "text")
    for name in ("regions", "text"):
        alone = dataclasses.replace(batch, views={view: batch.views[view] for view in method.made_of(name)})
        assert set(method.embed(alone)) == {name}
        torch.testing.assert_close(method.embed(alone)[name], found[name])


def test_a_text_that_reads_the_same_is_no_wrong_one():
    method, batch = make(), make().example_batch(8, 0)
    batch.views["text"][:] = batch.views["text"][:1]
    found = method.paired(method.tokens(batch), batch.key)
    assert found[1].all()


def test_masked_only_where_texts_belong():
    batch = make().example_batch(8, 0)
    found = [make(mask_only_aligned=only)(batch).parts for only in (False, True)]
    assert found[0]["alignment"] != found[1]["alignment"]  # other words are masked
    assert all(part.isfinite().all() for parts in found for part in parts.values())


def test_nothing_masked_costs_nothing():
    method, batch = make(), make().example_batch(2, 0)
    batch.length["regions"] = torch.zeros(2, dtype=torch.int64)
    batch.views["text"][:] = 0
    step = method(batch)
    assert step.parts["regions"] == 0 and step.parts["words"] == 0 and step.loss.isfinite()


@torch.no_grad()
def test_classes_that_are_not_read_are_not_asked_for():
    method, batch = make().eval(), make().example_batch(4, 0)
    batch.length |= {"regions": torch.full((4,), 5), "boxes": torch.full((4,), 5), "classes": torch.full((4,), 5)}
    del batch.views["classes"], batch.present["classes"]
    assert method.embed(batch)["regions_text"].any()


def test_lengths_that_differ_are_refused():
    method, batch = make(), make().example_batch(4, 0)
    batch.length |= {"regions": torch.full((4,), 5), "boxes": torch.full((4,), 4)}
    with pytest.raises(InputError, match="boxes: expected as many as regions"):
        method(batch)


class Told:
    """Captions with boxes."""

    def __init__(self, captions, box, classes):
        self.captions, self.box, self.classes = captions, box, classes

    def __len__(self):
        return len(self.captions)

    def __getitem__(self, row):
        spelt = TINY.text.spell(self.captions[row])
        boxes = torch.tensor(self.box).expand(6, 4)
        return {"text": spelt, "boxes": boxes, "regions": torch.zeros(6, 12), "classes": self.classes.expand(6, 9)}


def told(captions, box=(0.0, 0.0, 0.5, 1.0), classes=(1 / 9,) * 9):
    ids = [str(number) for number in range(len(captions))]
    return DatasetSource(Told(captions, box, torch.tensor(classes)), TINY.specs(), name="told", ids=ids)


def test_words_keep_their_order_and_rare_ones_are_unknown():
    method = make(words=7)
    said = method.study(told(["red red circle", "a red circle", "blue"]))
    assert said == "2 words of 4 are known; 2 of 6 are not"
    assert set(method.reader.dictionary()) == {"red", "circle"}
    number = {word: method.reader.first + place for place, word in enumerate(method.reader.dictionary())}
    batch = Batch(views={"text": TINY.text.spell("red blue circle red")[None]}, row=torch.zeros(1).long(),
                  key=torch.zeros(1).long())  # fmt: skip
    expected = [2, number["red"], 1, number["circle"], number["red"], 3, 0]
    assert method.tokens(batch)[0, :7].tolist() == expected
    method.study(told(["green circle red"]))
    assert set(method.reader.dictionary()) == {"red", "circle"}, "a dictionary that is there stays"


def test_too_few_words_and_boxes_in_pixels_are_refused():
    with pytest.raises(UsageError, match="fewer than two of them"):
        make().study(told(["red", "red"]))
    with pytest.raises(UsageError, match="divide by them"):
        make().study(told(["red circle"] * 2, (0.0, 0.0, 120.0, 40.0)))


def test_classes_that_are_scores_are_refused():
    with pytest.raises(UsageError, match="expected distributions: softmax"):
        make().study(told(["red circle"] * 2, classes=(3.0, -1.0, *[0.0] * 7)))


def test_nothing_to_find_codes_in_and_encoders_without_maps_are_refused():
    with pytest.raises(UsageError, match="found 0"):
        make(target="cluster").fit_targets(iter([]))
    method = make(picture="grid", target="feature")
    encoder = method.makers["grid"].encoder
    encoder.feature_maps = lambda x: {encoder.stages[-1]: torch.zeros(len(x), 4)}  # as another library's network
    with pytest.raises(UsageError, match="needs an image_encoder with maps"):
        method.regions(method.example_batch(2, 0))


def on_a_rank(count, changes):
    from coview import parallel

    method = make(**changes).double()
    batch = method.example_batch(count, 3)
    views = {name: view.double() if view.is_floating_point() else view for name, view in batch.views.items()}
    batch = dataclasses.replace(batch, views=views)
    world = parallel.world_size()
    bounds = [0, *(count * k // world + k % 2 for k in range(1, world)), count]  # shares that differ
    mine = batch.select(slice(bounds[parallel.rank()], bounds[parallel.rank() + 1]))
    method.fit_targets(iter([mine]))
    step = method(mine)
    step.loss.backward()
    grads = [parallel.sum_with_grad(p.grad) / world for p in method.parameters() if p.requires_grad]
    return [parallel.sum_with_grad(v.detach()) / world for v in (step.loss, *step.parts.values())], grads


@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"target": "feature", "mask_only_aligned": True},
        {"target": "soft-cluster", "shown": "codes", "codes": 4},
        {"picture": "grid", "target": "cluster", "codes": 4},
    ],
)
def test_unequal_shares_are_one_batch(world, changes):
    expected = on_a_rank(9, changes)
    for found in worlds.run(world, on_a_rank, 9, changes):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, {"picture": "grid"}])
@pytest.mark.parametrize("target", ["cluster", "soft-cluster"])
def test_codes_are_found_by_k_means(target, changes):
    method = make(target=target, shown="codes", codes=3, **changes)
    batch = method.example_batch(30, 0)
    if not changes:  # three clouds
        cloud = torch.arange(30)[:, None] % 3 + torch.zeros(6).long()
        batch.views["regions"] = 10 * torch.eye(12)[cloud] + 0.1 * batch.views["regions"]
    method.fit_targets(iter([batch]))
    regions, codes = method.regions(batch), method.makers["codes"]
    found = codes(regions.features)
    said = method.target(batch, regions)
    assert said.shape == (30, regions.features.shape[1], 3) and found.unique().tolist() == [0, 1, 2]
    assert torch.equal(said.argmax(2), found)
    torch.testing.assert_close(said.sum(2), torch.ones(30, said.shape[1]))
    if not changes:
        assert len({(int(c), int(n)) for c, n in zip(cloud.flatten(), found.flatten(), strict=True)}) == 3
        assert float(said.max(2).values.min()) > 0.99
    assert method(batch).loss.isfinite()


@torch.no_grad()
def test_an_emptied_region_is_not_seen():
    for changes in ({}, {"shown": "codes"}):
        method = make(**changes).eval()
        batch = method.example_batch(4, 0)
        if changes:
            method.fit_targets(iter([batch]))
        regions, tokens = method.regions(batch), method.tokens(batch)
        emptied = torch.zeros_like(regions.there)
        emptied[:, 2] = True
        other = dataclasses.replace(regions, features=regions.features.clone())
        other.features[:, 2] = 5
        expected = method.streams(tokens, regions, emptied)
        torch.testing.assert_close(method.streams(tokens, other, emptied), expected, rtol=0, atol=0)


@torch.no_grad()
def test_cells_of_a_grid_are_means_of_frozen_maps():
    method = make(picture="grid", target="feature").train()
    batch = method.example_batch(3, 0)
    grid = method.makers["grid"]
    assert not grid.encoder.training and not any(p.requires_grad for p in grid.encoder.parameters())
    regions = method.regions(batch)
    assert regions.boxes[0].tolist() == [[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1]]
    maps = grid.encoder.feature_maps(batch.views["image"])[grid.encoder.stages[-1]]
    assert regions.features.shape == (3, 4, maps.shape[1])
    torch.testing.assert_close(regions.features.mean(1), maps.mean((2, 3)), rtol=1e-4, atol=1e-5)
    assert set(method.eval().embed(batch)) == {"image", "text", "image_text"}


def test_the_frozen_encoder_of_a_grid_starts_from_another_model(tmp_path):
    """A model of pictures goes into the grid; one of the method itself into all of it."""
    method = make(picture="grid", target="feature")
    other = make(1, picture="grid", target="feature")
    trained = {f"encoders.image.{n}": v for n, v in other.makers["grid"].encoder.state_dict().items()}
    others = {"encoders.audio.more": torch.zeros(1), "projectors.image.0.weight": torch.zeros(2, 2)}
    save_file(trained | others, tmp_path / "model.safetensors")
    own = {name: value.clone() for name, value in method.encoders.state_dict().items()}
    take_weights(method, tmp_path)
    torch.testing.assert_close(method.makers["grid"].state_dict(), other.makers["grid"].state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(dict(method.encoders.state_dict()), own, rtol=0, atol=0)
    save_file(dict(other.state_dict()), tmp_path / "model.safetensors")
    take_weights(method, tmp_path)
    torch.testing.assert_close(method.state_dict(), other.state_dict(), rtol=0, atol=0)
    save_file(trained | {"encoders.image.more": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match=r"encoders\.image\.more is \(1,\) there and absent here"):
        take_weights(method, tmp_path)
    save_file(others, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match=r"encoders\.audio\.more is \(1,\) there and absent here"):
        take_weights(method, tmp_path)


@torch.no_grad()
def test_every_pair_is_read():
    method, batch = make().eval(), make().example_batch(3, 0)
    some = batch.select(slice(0, 2))
    found = method.belonging(batch, some)
    assert found.shape == (3, 2)
    both = dataclasses.replace(batch, views=batch.views | {"text": batch.views["text"][[1, 1, 1]]})
    scores = method.makers["alignment"](method.embed(both)["regions_text"])
    torch.testing.assert_close(found[:, 1], scores[:, 0] - scores[:, 1], rtol=1e-4, atol=1e-5)


def test_block_attends_only_where_something_is():
    torch.manual_seed(0)
    block = AttentionBlock(6, 4, 8, 2, 5, 0.0).double()
    there = torch.tensor([[True, False, True]])
    _, maps = block(torch.randn(1, 2, 6).double(), torch.randn(1, 3, 4).double(), there)
    assert not maps[..., 1].any()
    torch.testing.assert_close(maps.sum(3), torch.ones(1, 2, 2).double())

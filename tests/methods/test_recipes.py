"""Every method of the index can be started by its name, says its views without being built, and brings two recipes."""

import dataclasses
import json

import pytest
import torch

from coview.data.augment import AugmentSettings
from coview.data.preprocess import Preprocess
from coview.data.views import ViewSpec
from coview.errors import UsageError
from coview.files import read_tensors, write_tensors
from coview.methods import METHODS, PIPELINES, build, load_method, load_pipeline, views_of
from coview.methods.contract import Facts
from coview.methods.recipe import OptimiserSettings, Recipe, ScheduleSettings
from coview.model import Model
from coview.settings import from_dict, to_dict

# The index of systems by their short names; one that stands here is startable by this name.
STANDING = [
    "avid", "cma", "xid", "stica", "cmac", "l3", "swav", "seer", "xdc", "sdc", "mdc", "cdc", "mcn", "cca", "robust-cca",
    "vilbert", "dcca", "dccae", "splitae", "corrae", "distae", "supervised-dcca", "vae-cca", "av-vicreg",
    "vicreg-video",
    "supervised-av", "denoising-autoencoder", "relative-position", "context-encoder",
    "split-brain", "colorization", "larsson-colorization", "context-discovery", "weak-captions", "steady-features",
    "physical-prediction", "ambient-sound", "video-triplet", "uavm", "cloven", "ccl", "mov", "cav-mae", "elo",
]  # fmt: skip
TO_COME: list[str] = []


def test_every_standing_system_has_its_name_and_is_what_it_says():
    assert set(STANDING) <= {*METHODS, *PIPELINES} and not set(METHODS) & set(PIPELINES)
    assert not set(TO_COME) & {*METHODS, *PIPELINES}, "a system has come: list it among those that stand"
    assert {slug: load_method(slug).about.slug for slug in METHODS} == {slug: slug for slug in METHODS}
    assert {slug: load_pipeline(slug).about.slug for slug in PIPELINES} == {slug: slug for slug in PIPELINES}


@pytest.mark.parametrize("slug", PIPELINES)
def test_a_pipeline_is_plain_data_and_no_method(slug):
    kind = load_pipeline(slug).Settings
    for settings in (kind(), kind.tiny()):
        assert from_dict(kind, json.loads(json.dumps(to_dict(settings)))) == settings
    with pytest.raises(UsageError, match=f"coview discover {slug}"):
        load_method(slug)


@pytest.mark.parametrize("slug", METHODS)
@pytest.mark.parametrize("tiny", [False, True])
def test_recipes_and_settings_are_plain_data(slug, tiny):
    kind = load_method(slug)
    recipe, settings = kind.recipe(tiny), kind.Settings.tiny() if tiny else kind.Settings()
    assert from_dict(Recipe, to_dict(recipe)) == recipe
    assert from_dict(kind.Settings, to_dict(settings)) == settings
    views = views_of(slug, settings)
    assert views and all(isinstance(view, ViewSpec) for view in views.values())
    assert dict(settings.specs()) == dict(views)


@pytest.mark.parametrize("slug", METHODS)
def test_views_are_those_of_the_built_method(slug):
    settings = load_method(slug).Settings.tiny()
    assert build(slug, settings, Facts(rows=40, classes=4)).views == views_of(slug, settings)


@pytest.mark.parametrize("slug", METHODS)
def test_built_to_embed_costs_no_rows_and_embeds_the_same(slug):
    settings = load_method(slug).Settings.tiny()
    torch.manual_seed(0)
    whole = build(slug, settings, Facts(rows=40, classes=4)).eval()
    bare = build(slug, settings, Facts(rows=1 << 40, classes=4, training=False)).eval()
    for part in ("encoders", "projectors", "makers"):
        getattr(bare, part).load_state_dict(getattr(whole, part).state_dict())
    batch = whole.example_batch(6, 1)
    for space in ("backbone", "projected"):
        torch.testing.assert_close(bare.embed(batch, space), whole.embed(batch, space), rtol=0, atol=0)


def test_absent_rows_are_embedded_as_zero():
    method = build("xid", load_method("xid").Settings.tiny(), Facts(rows=40)).eval()
    batch = method.example_batch(4, 0)
    whole = method.embed(batch)["audio"]
    batch.views["audio"][1] = torch.nan
    batch.present["audio"] = torch.tensor([True, False, True, True])
    found = method.embed(batch)["audio"]
    assert not found[1].any()
    torch.testing.assert_close(found[[0, 2, 3]], whole[[0, 2, 3]])
    batch.present["audio"] = torch.zeros(4, dtype=torch.bool)
    assert method.embed(batch)["audio"].shape == whole.shape and not method.embed(batch)["audio"].any()


@pytest.mark.slow
def test_heads_know_their_length():
    for slug in METHODS:
        method = build(slug, load_method(slug).Settings.tiny(), Facts(rows=40, classes=4)).eval()
        found = method.embed(method.example_batch(4, 0))
        for name, head in method.projectors.items():
            assert head.dim == found[name].shape[1], slug


def test_published_recipes_decay_what_the_codes_decay():
    everything = {slug for slug in METHODS if load_method(slug).recipe().optimiser.decay == "everything"}
    assert {"avid", "cma", "xid", "av-vicreg", "vicreg-video", "swav", "seer"} <= everything
    method = build("avid", load_method("avid").Settings.tiny(), Facts(rows=40))
    spared, whole = method.parameter_groups(0.1), method.parameter_groups(0.1, "everything")
    assert [group["weight_decay"] for group in spared] == [0.1, 0.0] and [g["weight_decay"] for g in whole] == [0.1]
    assert len(whole[0]["params"]) == len(list(method.parameters()))


def test_parts_can_have_a_rate_of_their_own():
    method = build("infonce", load_method("infonce").Settings.tiny(), Facts(rows=40))
    method.lr_scale = lambda name: 10.0 if name.startswith("projectors.") else 1.0
    groups = method.parameter_groups(0.0)
    assert {group["lr_scale"] for group in groups} == {1.0, 10.0}
    heads = {id(p) for p in method.projectors.parameters()}
    assert {id(p) for group in groups if group["lr_scale"] == 10.0 for p in group["params"]} == heads


def test_a_learned_temperature_comes_back_from_its_bound():
    settings = dataclasses.replace(load_method("infonce").Settings.tiny(), temperature=0.0101)
    method = build("infonce", settings, Facts(rows=40))
    optimiser = torch.optim.SGD([method.log_scale], 10.0)
    batch, seen = method.example_batch(8, 0), []
    for sign in (-1.0, 1.0):  # first towards the bound and beyond it, then back
        optimiser.zero_grad()
        method(batch).loss.backward()
        assert method.log_scale.grad != 0
        method.log_scale.grad = torch.tensor(sign)
        optimiser.step()
        method.after_step()
        seen.append(float(method(batch).parts["temperature"]))
    assert seen[0] == pytest.approx(0.01) and seen[1] > 1.0


def test_old_names_of_settings_are_read_on():
    kind = load_method("vicreg-video").Settings
    old = {"video_encoder": "video-tiny", "apart": [1.0, 3.0], "hidden": [8], "embedding": 4}
    assert from_dict(kind, old).later == (1.0, 3.0)


def test_weights_of_a_shared_network_under_one_name_are_read_on():
    method = build("vicreg-video", load_method("vicreg-video").Settings.tiny(), Facts(rows=40))
    old = {k: v for k, v in method.state_dict().items() if "video_later" not in k}
    assert len(old) < len(method.state_dict())
    method.load_state_dict(old)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Recipe, {"batch_size": 0}),
        (ScheduleSettings, {"warm_up_from": 1.5}),
        (ScheduleSettings, {"kind": "one-cycle", "warm_up": 0.1, "warm_up_from": 0.1}),
        (OptimiserSettings, {"lr": 0.0}),
    ],
)
def test_impossible_recipes_are_refused(kind, wrong):
    with pytest.raises(ValueError):
        kind(**wrong)


def test_a_model_written_with_former_names_is_read_on(tmp_path):
    for slug, names in (("vicreg-video", {}), ("stica", {"video_later": "video_again"})):
        settings = load_method(slug).Settings.tiny()
        method = build(slug, settings, Facts(rows=40)).eval()
        about = {"collection": {"name": "made", "fingerprint": "", "rows": 40}, "classes": []}
        folder = tmp_path / slug
        Model(method, Preprocess(method.views, AugmentSettings()), about).save(folder)
        config = json.loads((folder / "config.json").read_text())
        config["settings"] = {"apart" if k == "later" else k: v for k, v in config["settings"].items()}
        del config["files"]
        (folder / "config.json").write_text(json.dumps(config))
        cuts = json.loads((folder / "preprocessing.json").read_text())
        cuts["views"] = {names.get(name, name): fields for name, fields in cuts["views"].items()}
        (folder / "preprocessing.json").write_text(json.dumps(cuts))
        kept = {k: v for k, v in read_tensors(folder / "model.safetensors").items() if ".video_later." not in k}
        write_tensors(kept, folder / "model.safetensors")
        batch = method.example_batch(4, 0)
        found = Model.from_run(folder).method.eval().embed(batch)
        torch.testing.assert_close(found, method.embed(batch), rtol=0, atol=0)

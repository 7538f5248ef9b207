"""Networks for pictures: SEER's sizes on the meta device, torchvision's numbers, activations computed again."""

import copy

import pytest
import torch
from torchvision.models import regnet_y_8gf

from coview.encoders import IMAGE, build_image
from coview.encoders.recompute import recompute
from coview.encoders.words import WordVectors

# Depths, widths, millions of parameters of the trunk: the table of SEER's sizes.
TABLE = {
    "8gf": ((2, 4, 10, 1), (224, 448, 896, 2016), 37.4),
    "16gf": ((2, 4, 11, 1), (224, 448, 1232, 3024), 80.6),
    "32gf": ((2, 5, 12, 1), (232, 696, 1392, 3712), 141.3),
    "64gf": ((2, 5, 12, 1), (328, 984, 1968, 4920), 276.5),
    "128gf": ((2, 7, 17, 1), (528, 1056, 2904, 7392), 637.4),
    "256gf": ((2, 7, 17, 1), (746, 1492, 4103, 10444), 1272.2),
    "10b": ((2, 7, 17, 1), (2020, 4040, 11110, 28280), 9323.9),
}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("size", TABLE)
def test_sizes_of_seer_without_any_memory(size):
    depths, widths, millions = TABLE[size]
    with torch.device("meta"):
        net = build_image(f"regnety-{size}")
        maps = net.feature_maps(torch.empty(1, 3, 64, 64))
    assert tuple(len(stage) for stage in net.trunk_output.children()) == depths
    assert tuple(maps[name].shape[1] for name in net.stages) == widths
    assert round(count(net) / 1e6, 1) == millions
    assert net.dim == widths[-1]
    assert len(net.blocks()) == sum(depths)


def test_weights_have_torchvisions_names():
    theirs = regnet_y_8gf(weights=None).state_dict()
    with torch.device("meta"):
        ours = build_image("regnety-8gf").state_dict()
    kept = {name: value.shape for name, value in theirs.items() if not name.startswith("fc.")}
    assert {name: value.shape for name, value in ours.items()} == kept


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("image-tiny", 97680), ("strided", 2823040), ("resnet-18", 11176512), ("resnet-50", 23508032)],
)
def test_shapes_and_parameters(name, parameters):
    net = build_image(name)
    assert count(net) == parameters
    maps = net.feature_maps(torch.randn(2, 3, 32, 32))
    assert tuple(maps) == net.stages
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, net.dim)


@pytest.mark.parametrize(("name", "share"), [("regnety-tiny", 0.5), ("image-tiny", 0.6), ("resnet-18", 0.5)])
def test_recomputed_blocks_change_nothing_but_memory(name, share):
    torch.manual_seed(0)
    plain = build_image(name).double()
    spared = copy.deepcopy(plain)
    recompute(spared.blocks())
    assert list(spared.state_dict()) == list(plain.state_dict())
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    kept = []
    for net in (plain, spared):
        sizes = {}

        def pack(tensor, sizes=sizes):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        owned = {p.untyped_storage().data_ptr() for p in net.state_dict(keep_vars=True).values()}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = net(x).square().mean()
        kept.append(sum(size for place, size in sizes.items() if place not in owned))
        loss.backward()
    for (label, expected), found in zip(plain.named_parameters(), spared.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-10, atol=1e-12, msg=label)
    torch.testing.assert_close(spared.state_dict(), plain.state_dict(), rtol=0, atol=0)  # once, not twice
    assert kept[1] < share * kept[0]
    with torch.no_grad():
        torch.testing.assert_close(spared.eval()(x), plain.eval()(x), rtol=0, atol=0)


def test_names_are_known():
    assert {"image-tiny", "resnet-50", "regnety-256gf"} <= set(IMAGE)


def test_alexnet_and_googlenet_have_their_published_sizes():
    """With a classifier of 1000: 60 965 224 and, auxiliary classifiers included, torchvision's 13 004 888."""
    with torch.device("meta"):
        alex, google = build_image("caffenet-fc7"), build_image("googlenet")
        sides = google.side_heads()
        assert alex(torch.empty(1, 3, 224, 224)).shape == alex(torch.empty(1, 3, 227, 227)).shape == (1, 4096)
        maps = google.feature_maps(torch.empty(2, 3, 224, 224))
        assert all(head(maps[stage]).shape == (2, 1024) for stage, head in sides.items())
    assert count(alex) == 56_868_224 and count(alex) + 4096 * 1000 + 1000 == 60_965_224
    assert count(google) == 5_599_904 and list(sides) == ["inception4a", "inception4d"]
    top = 1024 * 1000 + 1000
    assert count(google) + top + sum(count(head) + top for head in sides.values()) == 13_004_888
    assert build_image("resnet-18").side_heads() == {}


def test_a_dictionary_of_100_000_words_adds_its_vectors_and_no_more():
    with torch.device("meta"):
        alex = build_image("caffenet-fc7")
        sizes = [count(alex) + count(WordVectors(words, alex.dim)) for words in (1_000, 100_000)]
    assert sizes[1] - sizes[0] == 99_000 * 4096


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_googlenet_learns_at_its_sides_too(channels):
    net = build_image("googlenet", channels)
    sides = torch.nn.ModuleDict(net.side_heads())
    maps = net.feature_maps(torch.randn(2, channels, 64, 64))
    total = sum(head(maps[stage]).sum() for stage, head in sides.items()) + net.pool(maps[net.stages[-1]]).sum()
    total.backward()
    assert all(parameter.grad.isfinite().all() for parameter in (*net.parameters(), *sides.parameters()))

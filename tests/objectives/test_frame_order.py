"""Clips whose time was changed: half of them, nothing but their order, and the label tells."""

import torch

from coview.objectives.frame_order import shuffled, turned


def test_half_of_the_clips_are_altered_and_the_label_says_which():
    key = torch.arange(400)
    clip = torch.arange(4.0)[None, None, :, None, None].expand(400, 1, 4, 2, 2)
    for alter in (shuffled, turned):
        found, altered = alter(clip, key)
        assert torch.equal((found != clip).flatten(1).any(1), altered) and 0.4 < altered.float().mean() < 0.6
        assert torch.equal(found.sort(2).values, clip)
        assert torch.equal(alter(clip[7:9], key[7:9])[0], found[7:9])
    assert torch.equal(found[altered], clip[altered].flip(2))

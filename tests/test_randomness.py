import torch

from coview import randomness


def test_a_draw_depends_on_its_own_key_alone() -> None:
    keys = randomness.make_key(7, 3, torch.arange(1000))
    whole = randomness.uniform(keys, 5, 3)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(randomness.uniform(keys[order], 5, 3), whole[order])
    # Logarithm and cosine may round otherwise where a library takes many numbers at once.
    torch.testing.assert_close(randomness.normal(keys[:1], 2, 4), randomness.normal(keys, 2, 4)[:1])


def test_the_first_numbers_never_change() -> None:
    # Stored runs are resumed by later versions: these values are a promise, computed once with plain Python integers.
    keys = randomness.make_key(1, 2, torch.arange(2))
    assert keys.tolist() == [_key(1, 2, 0), _key(1, 2, 1)]


def test_streams_and_components_are_uniform_and_uncorrelated() -> None:
    keys = randomness.make_key(0, torch.arange(50_000))
    draws = torch.cat([randomness.uniform(keys, stream, 2) for stream in range(4)], dim=1).double()
    assert (draws.mean(0) - 0.5).abs().max() < 0.006  # 4.6 standard errors
    assert (torch.corrcoef(draws.T) - torch.eye(8)).abs().max() < 0.02
    assert draws.min() >= 0 and draws.max() < 1


def test_normal_draws_have_the_moments_of_a_normal() -> None:
    draws = randomness.normal(randomness.make_key(0, torch.arange(100_000)), 1).double()
    assert abs(draws.mean()) < 0.015 and abs(draws.var() - 1) < 0.02
    assert abs((draws**4).mean() - 3) < 0.15


def test_integers_stay_in_range_and_reach_every_value() -> None:
    draws = randomness.integers(randomness.make_key(0, torch.arange(1000)), 1, 7)
    assert sorted(set(draws.tolist())) == list(range(7))


def _mix(x: int) -> int:
    mask = (1 << 64) - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def _key(*parts: int) -> int:
    key = 0
    for part in parts:
        key = _mix(key ^ _mix(part))
    return key - (1 << 64) if key >> 63 else key

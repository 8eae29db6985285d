"""Hashed noise: repeatable, different wherever it should be, and as random as it claims."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from python.model.noise import FilteredNoise, gaussian, hashed, mix, uniform
from tests import contract

# state [seed, frame, enabled], node -> (streams, channels, frames): the C++ engine is held to these
GOLDEN = [
    (
        [0, 0, 1],
        1,
        [[[1049249258, 2188531478, 2893787900], [1154444542, 542909916, 1606285241]]],
    ),
    (
        [7, 2**24, 1],
        1,
        [[[4094039933, 3811649567, 1497526094], [4075326020, 4164748576, 1031808498]]],
    ),
    (
        [-1, 2**32 - 1, 1],
        1,
        [[[4241497903, 3195013760, 3367001249], [3714259810, 3431911054, 4087464600]]],
    ),
    (
        [2**31, 2**40 + 5, 1],
        1,
        [[[2675809112, 4146486764, 2479032100], [1796670698, 1686095117, 583983380]]],
    ),
]


def state(seed: int = 0, frame: int = 0) -> Tensor:
    return torch.tensor([seed, frame, 1])


@pytest.mark.parametrize(("triple", "node", "expected"), GOLDEN)
def test_golden_integers(triple: list[int], node: int, expected: list) -> None:
    shape = np.array(expected).shape
    assert hashed(torch.tensor(triple), node, shape[0], shape[1], 0, shape[2]).tolist() == expected


def test_two_streams_and_a_frame_before_the_start() -> None:
    expected = [[[2433294778, 3348675018]], [[2365515415, 2769683680]]]
    assert hashed(state(), 3, 2, 1, -1, 2).tolist() == expected


def test_the_finaliser_is_murmur3s() -> None:
    """Known values of MurmurHash3's fmix32."""
    assert mix(torch.tensor([0, 1, 2, 0xFFFFFFFF])).tolist() == [0, 0x514E28B7, 0x30F4C306, 0x81F16F39]


@pytest.mark.parametrize("seed", [0, 1, -1, 2**31, 2**32 + 3, -(2**63)])
@pytest.mark.parametrize("frame", [0, 2**24 - 2, 2**31 - 2, 2**32 - 2, 2**33 + 1, 2**52])
def test_integers_are_those_of_32_bit_arithmetic(seed: int, frame: int) -> None:
    got = hashed(state(seed, frame), 5, 3, 4, -3, 8)
    want = contract.reference_hash(seed, 5, np.arange(3), np.arange(4), np.arange(-3, 5) + frame)
    assert got.tolist() == want.tolist()
    assert int(got.min()) >= 0
    assert int(got.max()) < 2**32


@pytest.mark.parametrize("frame", [0, 2**24 - 50, 2**31 - 50, 2**32 - 50, 2**53])
def test_any_block_split_gives_the_same_noise_at_any_age(frame: int) -> None:
    """A counter kept in float32 repeats itself from frame 2^24 on, after 6 minutes."""
    whole = hashed(state(3, frame), 1, 2, 2, 0, 100)
    parts = [hashed(state(3, frame + at), 1, 2, 2, 0, n) for at, n in ((0, 1), (1, 49), (50, 50))]
    assert torch.equal(torch.cat(parts, 2), whole)
    assert len(whole[0, 0].unique()) > 98


def test_a_counter_in_float_would_repeat_itself() -> None:
    positions = (torch.tensor(float(2**24)) + torch.arange(100).float()).long()
    assert len(positions.unique()) < 60


def test_another_node_stream_channel_or_seed_is_other_noise() -> None:
    n = 1 << 14
    base = uniform(hashed(state(), 1, 2, 2, 0, n))
    others = {
        "stream": (base[0, 0], base[1, 0]),
        "channel": (base[0, 0], base[0, 1]),
        "stream and channel swapped": (base[0, 1], base[1, 0]),
        "node": (base[0, 0], uniform(hashed(state(), 2, 1, 1, 0, n))[0, 0]),
        "seed": (base[0, 0], uniform(hashed(state(1), 1, 1, 1, 0, n))[0, 0]),
        "2^32 frames later": (base[0, 0], uniform(hashed(state(0, 2**32), 1, 1, 1, 0, n))[0, 0]),
        "next frame": (base[0, 0, 1:], base[0, 0, :-1]),
    }
    for name, (a, b) in others.items():
        assert not torch.equal(a, b), name
        correlation = float((a * b).mean() * 3)
        assert abs(correlation) < 5 / n**0.5, f"{name}: correlation {correlation}"


def test_uniform_moments_and_range() -> None:
    u = uniform(hashed(state(), 1, 1, 4, 0, 1 << 17)).double().flatten()
    n = len(u)
    assert u.min() >= -1
    assert u.max() < 1
    assert abs(u.mean()) < 5 * (1 / 3 / n) ** 0.5
    assert abs(u.square().mean() - 1 / 3) < 5 * (4 / 45 / n) ** 0.5
    counts = torch.histc(u, 64, -1, 1)
    assert ((counts - n / 64).square() / (n / 64)).sum() < 63 + 5 * (2 * 63) ** 0.5  # chi-squared


def test_gaussian_moments_and_tails() -> None:
    g = gaussian(hashed(state(), 1, 1, 4, 0, 1 << 17)).double().flatten()
    n = len(g)
    assert torch.isfinite(g).all()
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((g**power).mean() - moment) < 5 * (spread / n) ** 0.5, f"moment {power}"
    extreme = gaussian(torch.tensor([0, 2**32 - 1]))
    assert torch.isfinite(extreme).all()
    assert extreme[0] == -extreme[1]


def test_filtered_noise_has_the_spectrum_of_its_magnitudes() -> None:
    """A smooth spectrum passes the window of the filter nearly unchanged."""
    count, frames, ratio = 33, 512, 32
    layer = FilteredNoise(1, count, ratio)
    wanted = 0.2 + 0.5 * (1 + torch.cos(torch.linspace(0, 2 * torch.pi, count)))
    y = layer(wanted[None, :, None].expand(1, count, frames))[0, 0]
    window = torch.hann_window(256)
    power = torch.fft.rfft(y.unfold(0, 256, 128) * window).abs().square().mean(0) / window.square().sum()
    level = torch.nn.functional.interpolate(wanted[None, None], 129, mode="linear", align_corners=True)[0, 0]
    ratio_db = 10 * torch.log10(power / (level.square() / 3))  # uniform noise has a variance of 1/3
    smooth = torch.nn.functional.avg_pool1d(ratio_db[None], 9, 1)[0]
    assert smooth.abs().max() < 1.0


def test_filtered_noise_repeats_itself_and_follows_its_seed_and_switch() -> None:
    layer = FilteredNoise(2, 5, 8)
    x = torch.rand(2, 10, 30)
    assert torch.equal(layer(x), layer(x))
    ((y, after), (other, _), (off, later)) = (
        layer.step(x, [torch.tensor(triple)]) for triple in ([0, 0, 1], [1, 0, 1], [0, 0, 0])
    )
    assert torch.equal(y, layer(x))
    assert not torch.equal(y, other)
    assert off.abs().max() == 0
    assert after[0].tolist() == [0, 30 * 8, 1]
    assert later[0].tolist() == [0, 30 * 8, 0]


def test_bands_and_streams_are_incoherent() -> None:
    layer = FilteredNoise(3, 5, 8)
    y = layer(torch.ones(2, 15, 2000)).flatten(0, 1)
    correlations = torch.corrcoef(y) - torch.eye(6)
    assert correlations.abs().max() < 0.05

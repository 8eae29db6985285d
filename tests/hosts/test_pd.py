"""`ravel~` in real Pure Data: what it plays, what it answers, what it survives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from python._native import Engine, Model

from tests.hosts.conftest import MakeModel, Object, Pd

BLOCKS = (1, 16, 64, 256, 1000)


def audio(channels: int = 1, frames: int = 12288, seed: int = 0) -> np.ndarray:
    return (0.3 * np.random.default_rng(seed).standard_normal((channels, frames))).astype(np.float32)


def engine(path: Path, x: np.ndarray, method: str = "forward", **settings: float) -> np.ndarray:
    """What the Python engine makes of x: (outputs, frames), latents held for their hop, late by the method's delay."""
    model = Model(path)
    one = Engine(model, method)
    for name, value in settings.items():
        setattr(one, name, value)
    hop = model.hop_samples
    whole = x[:, : x.shape[1] // hop * hop]
    if method == "decode":
        whole = np.ascontiguousarray(whole[:, hop - 1 :: hop])
    y = one.process(np.ascontiguousarray(whole[None]))[0]
    return np.repeat(y, hop, axis=1) if method == "encode" else y


@pytest.mark.parametrize("rate", [44100, 48000, 96000])
def test_sounds_like_the_engine_at_any_block_size(pd: Pd, make_model: MakeModel, rate: int) -> None:
    path, x = make_model("low", sample_rate_hz=rate), audio()
    played = pd.play({f"block{b}": Object(f"ravel~ {path} forward -seed 0", x, block=b) for b in BLOCKS}, rate)
    wanted, delay = engine(path, x)[0], Model(path).methods["forward"]["delay_samples"]
    peak = np.abs(wanted).max()
    assert peak > 1e-3
    for block in BLOCKS:
        late = played.latency(f"block{block}")
        heard = played.sound[f"block{block}"][0]
        count = len(heard) - late
        np.testing.assert_allclose(
            heard[late:], wanted[delay : delay + count], atol=1e-6 * peak, err_msg=f"block {block}"
        )

"""Files written by earlier builds still load and still play what they played then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from python import _native as native
from python.card import read_card

FILES = sorted((Path(__file__).parent.parent / "golden").glob("*.ravel"))
TOLERANCE = 1e-5  # of peak
ROUNDED = 5e-2  # of peak: native bfloat16 products round activations too


def test_the_files_are_there() -> None:
    assert [f.stem for f in FILES] == ["format-1-low-bf16", "format-1-v2-small", "format-3-low-discrete-prior"]
    assert "prior" in native.Model(FILES[2]).selftest()


@pytest.mark.parametrize("isa", native.cpu_features())
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_an_old_file_plays_what_it_played(path: Path, isa: str) -> None:
    model = native.Model(path, isa)
    rounds = model.weights == "bf16" and isa == "avx512_bf16"
    for method, error in model.selftest().items():
        assert error <= (ROUNDED if rounds else TOLERANCE), method
    assert model.hop_samples == model.methods["encode"]["out_ratio"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_an_old_card_is_read(path: Path) -> None:
    card = read_card(path)
    latents = 8 if "codes" in card else 5
    assert (card["latents"], card["latent_size"], card["sample_rate_hz"]) == (latents, 8, 44100)


def test_another_weight_is_heard(tmp_path: Path) -> None:
    data = bytearray(FILES[1].read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    first, _ = json.loads(data[8:start])["decoder.0.weight"]["data_offsets"]
    data[start + first + 3] ^= 0x80  # the sign of a float32
    broken = tmp_path / "broken.ravel"
    broken.write_bytes(data)
    assert max(native.Model(broken).selftest().values()) > TOLERANCE

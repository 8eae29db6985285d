"""The demo's last step: a sound through real Pd, held against the render of the same model."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("python._native", reason="the engine is not built: pip install -e .")

from python import demo, pd, render
from python.errors import RavelError
from tests.hosts.conftest import MakeModel


@pytest.fixture
def made(make_model: MakeModel, tmp_path: Path) -> Path:
    """What the earlier steps leave, in a folder whose name no patch could hold."""
    out = tmp_path / "a demo; with $1"
    out.mkdir()
    sound = 0.3 * np.random.default_rng(0).standard_normal(12345)
    soundfile.write(out / "input.wav", sound, 44100, subtype="FLOAT")
    shutil.copy(make_model("low"), out / "demo.ravel")
    (rendered,) = render.render(render.Instrument(out / "demo.ravel"), [out / "input.wav"], out / "r", quiet=True)
    rendered.replace(out / "resynthesis.wav")
    return out


def test_pd_plays_what_render_renders(made: Path, pd_program: str, external: Path) -> None:
    said = demo.through_pd(made, external.parent)
    assert "late by the 219 samples that it reports (5.0 ms), differs from the render by 0e+00" in said
    assert soundfile.info(made / "through_pd.wav").frames > 12345 + 219
    sound, rate = soundfile.read(made / "resynthesis.wav", dtype="float32")
    soundfile.write(made / "resynthesis.wav", np.roll(sound, 1), rate, subtype="FLOAT")
    assert float(demo.through_pd(made, external.parent).split(" by ")[-1].split()[0]) > 0.1, "a sample off is seen"


def test_what_cannot_be_played_is_explained(
    made: Path, pd_program: str, external: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = made / "through_pd.wav"
    (made / "bad.ravel").write_text("Dear diary")
    with pytest.raises(RavelError, match=r"Pd did not play: .*model.ravel"):
        pd.play(made / "bad.ravel", made / "input.wav", target, external.parent)
    with pytest.raises(RavelError, match=r"no ravel~ in .*-DRAVEL_PD=ON"):
        pd.play(made / "demo.ravel", made / "input.wav", target, made)
    monkeypatch.setenv("PATH", str(made))
    with pytest.raises(RavelError, match="no Pure Data"):
        pd.play(made / "demo.ravel", made / "input.wav", target, external.parent)
    assert not target.exists()

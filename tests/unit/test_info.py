"""Laws: the page says what the card says; the latency is delay + H - gcd(H, b); bad files are one line."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from python import card, info
from python.cli import run_verb
from python.errors import RavelError

MakeTs = Callable[..., Path]


def run(*words: object) -> int:
    return run_verb("info", info.main, [str(word) for word in words])


def ravel_file(path: Path, about: object, header: dict[str, object] | None = None, **metadata: str) -> Path:
    """A `.ravel` whose one tensor of two floats means nothing, with this card."""
    known = {"format": "ravel", "version": "1", "graph": "{}", "card": json.dumps(about)} | metadata
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    text = json.dumps({"__metadata__": known, "tensor": tensor} if header is None else header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    return path


def brute_force_wait(hop: int, block: int) -> int:
    """Play it: the host gives b samples a call; the model answers hops. The first output that is never
    missing is as late as the worst callback's shortage of finished samples."""
    worst = received = finished = 0
    for _ in range(4 * hop):
        received += block
        finished = received // hop * hop
        worst = max(worst, received - finished)
    return worst


@pytest.mark.parametrize("hop", [1, 6, 128, 512, 2048])
@pytest.mark.parametrize("block", [1, 3, 64, 100, 128, 480, 2048])
def test_hop_wait_equals_playing_it(hop: int, block: int) -> None:
    assert card.hop_wait_samples(hop, block) == brute_force_wait(hop, block)


def test_the_page_says_the_essentials(make_ts: MakeTs, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(make_ts(hop=128, delay=160)) == 0
    page = capsys.readouterr().out
    for fact in (
        "violin",
        "low",
        "44.1 kHz mono",
        "128 of 128",
        "4.00 M",
        "160 samples, 3.6 ms",
        "temperature",
    ):
        assert fact in page, fact
    assert any(line.split()[:2] == ["32", "256"] for line in page.splitlines())  # 160 + 128 - gcd(128, 32)
    assert any(line.split()[:2] == ["512", "160"] for line in page.splitlines())
    assert "12 recordings, 3.0 min" in page
    assert "1.25" in page


def test_json_is_the_card_and_the_latencies(make_ts: MakeTs, capsys: pytest.CaptureFixture[str]) -> None:
    path = make_ts(hop=128, delay=160)
    assert run(path, "--json") == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen.pop("latency_samples")["32"] == 256
    assert seen == card.read_card(path)


def test_a_page_without_curve_training_or_attributes(make_ts: MakeTs) -> None:
    bare = card.read_card(make_ts(fidelity_curve=[], training={}, attributes={}, streaming=False, channels=2))
    page = info.page(bare)
    assert "stereo" in page
    assert "offline" in page
    assert "latency" not in page


def test_fidelity_picks_the_fewest_latents() -> None:
    curve = [0.5, 0.8, 0.95, 1.0]
    assert [card.latents_for_fidelity(curve, f) for f in (0.1, 0.5, 0.51, 0.95, 1.0)] == [1, 1, 2, 3, 4]
    with pytest.raises(RavelError, match="no fidelity curve"):
        card.latents_for_fidelity([], 0.5)


def repacked(path: Path, text: str | None) -> Path:
    """The same file with another card, or without one."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            if not name.endswith("ravel.json"):
                archive.writestr(name, data)
            elif text is not None:
                archive.writestr(name, text)
    return path


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, "has no Ravel card"),
        ("{", "damaged card"),
        ("[]", "damaged card"),
        ("{}", "damaged card"),
        ('{"format": 2}', "card format 2, this Ravel reads 1"),
    ],
)
def test_foreign_and_damaged_cards(
    make_ts: MakeTs, text: str | None, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(repacked(make_ts(), text)) == 2
    error = capsys.readouterr().err
    assert line in error
    assert len(error.splitlines()) == 1


def test_files_that_are_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.ts").write_text("Dear diary")
    (tmp_path / "empty.ts").write_bytes(b"")
    (tmp_path / "folder.ts").mkdir()
    for name in ("text.ts", "empty.ts", "folder.ts", "missing.ts"):
        assert run(tmp_path / name) == 2
        error = capsys.readouterr().err
        assert name in error
        assert len(error.splitlines()) == 1


# -- the .ravel ------------------------------------------------------------


def test_a_ravel_prints_the_same_page(make_ts: MakeTs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = make_ts(hop=128, delay=160)
    about = card.read_card(script)
    engine = ravel_file(tmp_path / "violin.ravel", about | {"weights": "bf16"})
    assert run(script) == 0
    page = capsys.readouterr().out
    assert run(engine) == 0
    assert capsys.readouterr().out == page.replace("4.00 M", "4.00 M, bf16 weights")
    assert run(engine, "--json") == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen.pop("latency_samples")["64"] == 160 + 64
    assert seen == card.read_card(engine) == about | {"weights": "bf16"}


def test_a_ravel_is_read_without_torch_or_its_tensors(tmp_path: Path, make_ts: MakeTs) -> None:
    path = ravel_file(tmp_path / "a.ravel", card.read_card(make_ts()))
    program = "import sys; from python import info; s = info.main(sys.argv[1:]); sys.exit(s or 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], cwd=Path(__file__).parents[2], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def one_line(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(path) == 2
    error = capsys.readouterr().err
    assert path.name in error
    assert len(error.splitlines()) == 1
    return error


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"metadata": {"version": "4"}}, "has version 4, this Ravel reads 1 to 3: update Ravel"),
        ({"metadata": {"format": "pt"}}, "has no Ravel card"),
        ({"metadata": {"card": "{"}}, "damaged card"),
        ({"metadata": {"card": "[" * 100_000}}, "damaged card"),
        ({"about": {"format": 2}}, "card format 2"),
        ({"about": {"format": 1}}, "damaged card"),
        ({"header": {}}, "has no Ravel card"),
        ({"header": {"__metadata__": []}}, "damaged header"),
        ({"header": {"tensor": 3}}, "damaged header"),
        ({"header": []}, "damaged header"),
    ],
)
def test_a_foreign_or_damaged_ravel(
    tmp_path: Path, make_ts: MakeTs, change: dict[str, Any], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    about = change.get("about", card.read_card(make_ts()))
    path = ravel_file(tmp_path / "a.ravel", about, change.get("header"), **change.get("metadata", {}))
    assert line in one_line(path, capsys)


def test_bytes_that_are_no_ravel(tmp_path: Path, make_ts: MakeTs, capsys: pytest.CaptureFixture[str]) -> None:
    whole = ravel_file(tmp_path / "whole.ravel", card.read_card(make_ts())).read_bytes()
    cases = {
        "empty": b"", "short": whole[:5], "text": b"Dear diary, today I went to the sea",
        "ts": make_ts().read_bytes(), "huge": (2**62).to_bytes(8, "little") + whole[8:], "cut": whole[:-1],
        "longer": whole + b"x", "half": whole[: len(whole) // 2], "header": whole[:8], "zero": bytes(8) + whole[8:],
    }  # fmt: skip
    for name, data in cases.items():
        path = tmp_path / f"{name}.ravel"
        path.write_bytes(data)
        assert "export it again" in one_line(path, capsys)
    (tmp_path / "folder.ravel").mkdir()
    assert "give the .ravel itself" in one_line(tmp_path / "folder.ravel", capsys)
    assert "makes a .ravel" in one_line(tmp_path / "missing.ravel", capsys)


def test_any_flipped_byte_is_a_page_or_a_line(
    tmp_path: Path, make_ts: MakeTs, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = ravel_file(tmp_path / "whole.ravel", card.read_card(make_ts())).read_bytes()
    path, draw, seen = tmp_path / "flipped.ravel", random.Random(0), set()
    for _ in range(600):
        data = bytearray(whole)
        data[draw.randrange(len(data) - 8)] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        status = run(path)
        said = capsys.readouterr()
        seen.add(status)
        assert status == 0 or (status == 2 and len(said.err.splitlines()) == 1), said.err
    assert seen == {0, 2}

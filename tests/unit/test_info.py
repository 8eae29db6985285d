"""Laws: the page says what the card says; the latency is delay + H - gcd(H, b); bad files are one line."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from python import card, info
from python.cli import run_verb
from python.errors import RavelError

MakeTs = Callable[..., Path]


def run(*words: object) -> int:
    return run_verb("info", info.main, [str(word) for word in words])


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

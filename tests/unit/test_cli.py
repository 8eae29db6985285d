"""Laws: one line on stderr and a status other than 0 for every user error; help without importing torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from python import cli
from python.errors import RavelError

ROOT = Path(__file__).parents[2]


def ravel(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "python.cli", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_help_lists_every_verb_and_imports_no_torch() -> None:
    program = "import sys; from python import cli; s = cli.main(['--help']); sys.exit(s or 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(verb in done.stdout for verb in cli.VERBS)


def test_nothing_asked_is_an_error_that_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == cli.FAILED
    assert "usage: ravel VERB" in capsys.readouterr().out


@pytest.mark.parametrize(("word", "hint"), [("rendr", "render"), ("exprot", "export"), ("inf", "info")])
def test_a_misspelt_verb_gets_a_suggestion(word: str, hint: str) -> None:
    done = ravel(word)
    assert done.returncode == cli.FAILED
    assert f"did you mean {hint}?" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_strange_verb_gets_the_list_and_no_guess() -> None:
    done = ravel("zzz")
    assert "did you mean" not in done.stderr
    assert "train, export" in done.stderr


def raising(error: BaseException) -> object:
    def main(argv: Sequence[str] | None = None) -> int:
        raise error

    return main


def test_ravel_errors_are_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run_verb("info", raising(RavelError("no such file: x.ts"))) == 2  # type: ignore[arg-type]
    assert capsys.readouterr().err == "ravel info: no such file: x.ts\n"


def test_ctrl_c_is_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run_verb("train", raising(KeyboardInterrupt())) == 130  # type: ignore[arg-type]
    assert "stopped" in capsys.readouterr().err


def test_bugs_are_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        cli.run_verb("info", raising(ZeroDivisionError()))  # type: ignore[arg-type]


def test_a_reader_that_leaves_is_no_error() -> None:
    program = (
        "import sys; from python import cli\n"
        "def main(argv=None):\n"
        "    for i in range(100000): print('x' * 100)\n"
        "    return 0\n"
        "sys.exit(cli.run_verb('info', main))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


@pytest.fixture
def parser() -> cli.Parser:
    parser = cli.Parser(prog="ravel train")
    parser.add_argument("folder")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--preset", choices=["v1", "v2", "low"])
    return parser


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["x", "--learnign-rate", "1"], "there is no --learnign-rate, did you mean --learning-rate?"),
        (["x", "--learnign-rate=1"], "there is no --learnign-rate, did you mean --learning-rate?"),
        (["x", "--learning", "1"], "there is no --learning, did you mean --learning-rate?"),
        (["x", "--qqq"], "there is no --qqq; `ravel train --help` lists all"),
        (["x", "y"], "'y' is one argument too many"),
        (["x", "--preset", "lwo"], "did you mean low?"),
        (["x", "--preset", "big"], "there is v1, v2, low"),
        (["x", "--learning-rate", "fast"], "invalid float value: 'fast'"),
        ([], "required: folder"),
    ],
)
def test_parser_errors_are_one_helpful_line(
    parser: cli.Parser, words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(words)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert line in error
    assert error.startswith("ravel train: ")
    assert len(error.splitlines()) == 1


def test_good_words_pass(parser: cli.Parser) -> None:
    parsed = parser.parse_args(["x", "--preset", "low", "--learning-rate=1e-3"])
    assert (parsed.folder, parsed.preset, parsed.learning_rate) == ("x", "low", 1e-3)

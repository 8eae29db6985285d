"""`python -m python.export --streaming`: turn a run into a `.ts` that the stock nn~ externals load."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import runs
from .cli import Parser, run_verb
from .errors import RavelError
from .info import latency_page


def parser() -> argparse.ArgumentParser:
    p = Parser(prog="ravel export", description=__doc__)
    p.add_argument("run", nargs="?", help="name or folder of the run (default: the one trained last)")
    p.add_argument("--runs", type=Path, default=runs.RUNS, help="where runs live (default: runs)")
    p.add_argument(
        "--streaming", action="store_true", help="histories across calls, for playing live; without it the offline form"
    )
    how_many = p.add_mutually_exclusive_group()
    how_many.add_argument("--fidelity", type=float, help="keep the fewest latents that hold this share of the variance")
    how_many.add_argument("--latents", type=int, help="keep this many latents (default: all)")
    p.add_argument("--out", type=Path, help="the file, or a folder for NAME.ts (default: here)")
    p.add_argument("--checkpoint", choices=("best", "last"), default="best", help="which weights (default: best)")
    p.add_argument("--force", action="store_true", help="replace a file that is there")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    run = runs.find(args.run, args.runs)
    path = target(args.out, run.name)
    if path.exists() and not args.force:
        raise RavelError(f"{path} exists: choose another --out, or replace it with --force")
    lines = export(run, path, args.fidelity, args.latents, args.streaming, args.checkpoint)
    print("\n".join(lines))
    return 0


def target(out: Path | None, name: str) -> Path:
    """The file to write: `out`, or NAME.ts inside it when it is a folder, or here."""
    if out is None:
        return Path(f"{name}.ts")
    return out if out.suffix == ".ts" and not out.is_dir() else out / f"{name}.ts"


def export(
    run: runs.Run,
    path: Path,
    fidelity: float | None = None,
    latents: int | None = None,
    streaming: bool = True,
    which: str = "best",
) -> list[str]:
    """Write the verified `.ts` of a run to `path`; returns what to tell the user."""
    from .streaming import deploy

    trained = runs.load(run, which)
    kept = deploy.latents_kept(trained.principal, fidelity, latents)
    shell = deploy.deploy(trained, kept, streaming)
    about = deploy.card(shell, trained, path.stem)
    findings = deploy.write(shell, path, about, trained)
    held = trained.principal.fidelity_curve[kept - 1]
    size_mb = path.stat().st_size / 1e6
    latents_held = f"{kept} of {about['latent_size']} latents ({held:.1%} of the variance)"
    lines = [f"{path}: {about['preset']}, {latents_held}, {size_mb:.1f} MB"]
    lines += [f"  verified {line}" for line in findings]
    return lines + [page for page in (latency_page(about),) if page]


if __name__ == "__main__":
    sys.exit(run_verb("export", main))

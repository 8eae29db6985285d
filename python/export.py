"""`python -m python.export --streaming`: turn a run into a `.ts` for nn~ and a `.ravel` for the engine, both proved."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import runs
from .card import SUFFIXES
from .cli import Parser, run_verb
from .errors import RavelError
from .info import bit_rate, latency_page


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
    how_many.add_argument("--quantisers", type=int, help="of a discrete model keep the first so many (default: all)")
    p.add_argument(
        "--weights",
        choices=("fp32", "bf16"),
        help="of the .ravel: bf16 is half as large, its error 40 to 60 dB down; the .ts has fp32 (default: fp32)",
    )
    p.add_argument(
        "--out", type=Path, help="NAME.ts or NAME.ravel, which names both files, or a folder for them (default: here)"
    )
    p.add_argument("--checkpoint", choices=("best", "last"), default="best", help="which weights (default: best)")
    p.add_argument("--no-prior", action="store_true", help="leave out the prior that the run has")
    p.add_argument("--force", action="store_true", help="replace a file that is there")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    run = runs.find(args.run, args.runs)
    path = target(args.out, run.name)
    if not args.streaming and (args.weights or path.suffix == ".ravel"):
        raise RavelError("a .ravel is always streaming: add --streaming, or leave --weights and NAME.ravel out")
    path = path.with_suffix(".ts")
    there = [str(p) for p in written(path, args.streaming) if p.exists()]
    if there and not args.force:
        raise RavelError(f"{' and '.join(there)} exists: choose another --out, or replace it with --force")
    lines = export(
        run,
        path,
        args.fidelity,
        args.latents,
        args.streaming,
        args.checkpoint,
        weights=args.weights or "fp32",
        quantisers=args.quantisers,
        with_prior=not args.no_prior,
    )
    print("\n".join(lines))
    return 0


def target(out: Path | None, name: str) -> Path:
    """A file that was named: `out`, or NAME.ts inside it when it is a folder, or here."""
    if out is None:
        return Path(f"{name}.ts")
    return out if out.suffix in SUFFIXES and not out.is_dir() else out / f"{name}.ts"


def written(path: Path, streaming: bool) -> list[Path]:
    """The files of an export to NAME.ts: also NAME.ravel when it is for playing live."""
    return [path.with_suffix(suffix) for suffix in (SUFFIXES if streaming else SUFFIXES[:1])]


def export(
    run: runs.Run,
    path: Path,
    fidelity: float | None = None,
    latents: int | None = None,
    streaming: bool = True,
    which: str = "best",
    weights: str = "fp32",
    quantisers: int | None = None,
    with_prior: bool = True,
) -> list[str]:
    """Write the verified `.ts` of a run to `path`, its `.ravel` beside it; returns what to tell the user."""
    from .streaming import deploy

    trained = runs.load(run, which)
    kept = deploy.kept(trained, fidelity, latents, quantisers)
    prior = runs.load_prior(run, trained) if with_prior else None
    shell = deploy.deploy(trained, kept, streaming, prior)
    about = deploy.card(shell, trained, path.stem, prior)
    findings = deploy.write(shell, path, about, trained, weights)
    if shell.discrete:
        holds = f"{kept} of {trained.net.latent.kept} quantisers, {bit_rate(about)}"
    else:
        held = trained.principal.fidelity_curve[kept - 1]
        holds = f"{kept} of {about['latent_size']} latents ({held:.1%} of the variance)"
    lines = [f"{path.stem}: {about['preset']}, {holds}"]
    if prior:
        lines.append(f"  with a prior, {prior.summary['bits_per_frame']:.2f} bits a frame held out")
    for file in written(path, streaming):
        precision = weights if file.suffix == ".ravel" else "fp32"
        lines.append(f"{file}: {precision} weights, {file.stat().st_size / 1e6:.1f} MB, verified")
        lines += [f"  {line}" for line in findings[file.suffix]]
    if not streaming:
        lines.append("no .ravel: the engine plays live, --streaming writes one")
    return lines + [page for page in (latency_page(about),) if page]


if __name__ == "__main__":
    sys.exit(run_verb("export", main))

"""Proofs before an export is written: `.ts` and `.ravel` give what the trained network gives, however called."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from ..errors import RavelError
from ..model.noise import hashed
from ..model.prior import NODE, draw, undelayed
from ..model.quantise import Codebooks
from ..players import engine_module
from ..runs import Trained
from .graph import golden, sounding, stored, with_weights
from .nn_tilde import PriorShell, Shell

PRIOR_FRAMES = 64
DOUBT = 1e-4  # of a share that decides which number is drawn
TOLERANCE = 1e-5  # of peak: sums in another order for another number of frames, or on another instruction set


@torch.no_grad()
def script(loaded: torch.jit.ScriptModule, shell: Shell, trained: Trained) -> list[str]:
    """Check a loaded `.ts` against the network it came from. Raises RavelError with the numbers of a failure."""
    hop = shell.hop_samples
    findings = []
    inputs = _inputs(shell)
    x = inputs["forward"]
    loaded.set_temperature(0.0)
    if shell.streaming:
        for method, given in inputs.items():
            ratio = int(getattr(shell, f"{method}_params")[1])
            whole = _run(loaded, method, given, [given.shape[2]])
            blocks = _random_blocks(given.shape[2], hop if ratio == 1 else 1)
            split = _run(loaded, method, given, blocks)
            findings.append(_close(f"{method}, one block against {len(blocks)}", split, whole))
            alone = _run(loaded, method, given[:1], [given.shape[2]])
            findings.append(_close(f"{method}, a stream alone against in a batch", alone, whole[:1]))
    if isinstance(shell, PriorShell):
        findings.append(_prior(loaded, shell))
    loaded.set_noise(False)
    got = _run(loaded, "forward", x, [x.shape[2]])
    want = reference(trained, shell.codes, x)
    if not shell.streaming:
        late = -(-shell.delay // hop) * hop
        want = reference(trained, shell.codes, nn.functional.pad(x, (0, late)))[
            ..., shell.delay : shell.delay + x.shape[2]
        ]
    findings.append(_close("forward against the trained network", got, want))
    return findings + ([_blended(loaded, shell, trained, x)] if shell.labels else [])


def _blended(loaded: torch.jit.ScriptModule, shell: Shell, trained: Trained, x: Tensor) -> str:
    """A blend of the last label and the first, which then plays alone again."""
    blend = torch.zeros(len(shell.labels))
    blend[0], blend[-1] = 0.25, 0.75
    loaded.set_label(shell.labels[-1])
    for label in (0, len(shell.labels) - 1):
        loaded.set_label_weight(shell.labels[label], float(blend[label]))
    got = _run(loaded, "forward", x, [x.shape[2]])
    loaded.set_label(shell.labels[0])
    late = 0 if shell.streaming else -(-shell.delay // shell.hop_samples) * shell.hop_samples
    want = reference(trained, shell.codes, nn.functional.pad(x, (0, late)), blend)
    want = want if shell.streaming else want[..., shell.delay : shell.delay + x.shape[2]]
    return _close("a blend of labels against the trained network", got, want)


def _prior(loaded: torch.jit.ScriptModule, shell: PriorShell) -> str:
    """What a loaded `.ts` draws in calls of any size, against the offline network that hears the same rows."""
    net, temperature = shell.prior_net, torch.zeros(2, 1, PRIOR_FRAMES)
    blocks = _random_blocks(PRIOR_FRAMES, 1) if shell.streaming else [PRIOR_FRAMES]
    codes = _run(loaded, "prior", temperature, blocks)
    if not torch.equal(codes, _run(loaded, "prior", temperature, [PRIOR_FRAMES])):
        raise RavelError("export: prior draws other codes in other blocks; nothing was written, please report it")
    state = net.begin(temperature)
    played, late = copy.deepcopy(shell), 0 if shell.streaming else shell.prior_delay
    played.reset()
    if not torch.equal(codes, played.prior(temperature)):
        raise RavelError("export: prior draws other codes than the network; nothing was written, please report it")
    rows, stepped = [state[0][:, -1]], []
    for _ in range(PRIOR_FRAMES + late):
        logits = net.logits(net.frame(state))
        bits = hashed(state[-1], NODE, 2, net.quantisers, 0, 1).squeeze(2)
        rows.append(draw(logits, torch.ones(2), bits).to(logits.dtype))
        state = net.follow(rows[-1], state)
        stepped.append(logits.flatten(1))
    offline = net(torch.stack(rows[:-1], 2))
    drawn = undelayed(torch.stack(rows[1:], 2))
    if not torch.equal(shell.alphabet.speak(drawn), codes[:, :, codes.shape[2] - drawn.shape[2] :]):
        raise RavelError("export: prior draws other codes than its logits say; nothing was written, please report it")
    _primed(loaded, shell, shell.alphabet.speak(drawn))
    return _close("prior, logits of a step against the offline network", torch.stack(stepped, 2), offline)


def _primed(loaded: torch.jit.ScriptModule, shell: PriorShell, spoken: Tensor) -> None:
    """That a loaded `.ts` hears what a prior may have said as it was meant, and goes on from it."""
    if spoken.shape[1] < shell.alphabet.heard:
        return
    played = copy.deepcopy(shell)
    found = []
    for module in (loaded, played):
        module.reset()
        found.append(torch.cat([module.prime(spoken), module.prior(spoken[:, :1] * 0)], 2))
    if not torch.equal(*found) or not torch.equal(found[0][..., : spoken.shape[2]], spoken):
        raise RavelError("export: prime hears something else; nothing was written, please report it")


@torch.no_grad()
def reference(trained: Trained, kept: int, x: Tensor, labels: Tensor | None = None) -> Tensor:
    """What the trained network itself, unfolded, gives for x with the `kept` strongest components, or first quantisers,
    and no noise; as these weights of labels (labels,), or the first.

    Folding makes zero stand for the mean latent, so the past of the decoder's first convolution is the mean here too.
    """
    net, p = trained.net, trained.principal
    z = net.latent.limited(net.encoder(net.analysis(x)), p.mean, p.components, kept)
    state = net.decoder_state(z, None if labels is None else labels.expand(len(z), -1), 0)
    state = [s * torch.tensor([1, 1, 0]) if s.dtype == torch.int64 else s for s in state]
    state[0] = p.mean.expand_as(state[0])
    bands, _ = net.decoder.step(z, state)
    return net.synthesis(bands)


@torch.no_grad()
def ravel(path: Path, shell: Shell, weights: str) -> list[str]:
    """Check a `.ravel` against the deployed network: what is in the file, then what the engine makes of it."""
    parts, tensors = stored(shell, weights)
    player = with_weights(shell, weights)
    pair = golden(player)
    with safe_open(path, "pt") as file:
        read = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        graph = json.loads(file.metadata()["graph"])
    if graph != parts or read.keys() != {*tensors, *pair} or not all(_equal(read[n], t) for n, t in tensors.items()):
        raise RavelError("export: the .ravel does not read back as made; nothing was written, please report it")
    for name, want in pair.items():
        _close(f"{name} read back", read[name], want)
    findings = [f"graph, {len(tensors)} tensors and the golden pair read back"]
    native: ModuleType | None = None
    try:
        native = engine_module()
    except RavelError as missing:
        findings.append(f"not played: {missing}")
    else:
        findings += _engine(native, path, player)
    if weights != "fp32":
        findings += _cost(native, path, player, shell)
    return findings


def _engine(native: ModuleType, path: Path, shell: Shell) -> list[str]:
    """The engine against torch, on the fastest instruction set that keeps activations in fp32."""
    isa = [name for name in native.cpu_features() if not name.endswith("_bf16")][-1]
    try:
        model = native.Model(path, isa)
    except native.Error as reason:
        raise RavelError(f"export: the engine refuses the .ravel: {reason}; nothing was written") from reason
    for method, error in model.selftest().items():
        _judge(f"{method} of the golden pair, engine ({isa})", error, 1.0)
    findings = [
        _close(f"{method}, engine ({isa}) against torch", _played(native, model, method, x), _torch(shell, method, x))
        for method, x in _inputs(shell).items()
    ]
    return findings + ([_drawn(native, model, shell)] if isinstance(shell, PriorShell) else [])


def _drawn(native: ModuleType, model: Any, shell: PriorShell) -> str:
    """What the engine's prior draws in its reach and beyond, against what torch makes of the very past that it has."""
    net, engine = shell.prior_net, native.Engine(model, "prior", streams=2)
    draws = [op["name"] for op in engine.ops()].index("prior.draw")
    still = np.zeros((2, 1, 1), np.float32)
    frames, logits, rows = [], [], []
    for _ in range(net.receptive_field + PRIOR_FRAMES):
        frames.append(engine.process(still))
        logits.append(engine.latest(draws - 1))
        rows.append(engine.latest(draws) - 1)
    pattern = torch.from_numpy(np.stack(rows, 2))
    whole = undelayed(nn.functional.pad(pattern, [net.quantisers - 1, 0], value=-1.0))
    if not torch.equal(torch.from_numpy(np.concatenate(frames, 2)), shell.alphabet.speak(whole)):
        raise RavelError("export: the engine's prior gives other frames than it drew; please report it")
    want = net(nn.functional.pad(pattern[:, :, :-1], [1, 0], value=-1.0))
    finding = _close("prior, logits, engine against torch", torch.from_numpy(np.stack(logits, 2)), want)
    for q, of_one in enumerate(want.unflatten(1, (net.quantisers, net.codes)).unbind(1)):
        share = hashed(torch.tensor([0, 0, 1]), NODE, 2, net.quantisers, 0, len(rows))[:, q] >> 8
        if not explained(of_one, pattern[:, q], share * 2.0**-24):
            raise RavelError(f"export: the engine's prior draws other numbers in channel {q}; please report it")
    return finding


def explained(logits: Tensor, drawn: Tensor, share: Tensor) -> bool:
    """Whether each number (B, T) is what logits (B, codes, T) give for a share (B, T) of their weights.

    Or for one nearer than DOUBT: rounding may push a boundary past it.
    """
    odds = logits.double().softmax(1)
    which = drawn.long().unsqueeze(1)
    above = odds.cumsum(1).gather(1, which).squeeze(1)
    below = above - odds.gather(1, which).squeeze(1)
    return bool(((share >= below - DOUBT) & (share <= above + DOUBT)).all())


def _cost(native: ModuleType | None, path: Path, player: Shell, exact: Shell) -> list[str]:
    """What the rounded weights, and on some machines rounded activations, cost: signal to noise of each method."""
    model = native and native.Model(path)
    where = f"engine ({model.isa})" if model else "torch"
    findings = []
    for method, x in _inputs(exact).items():
        want = _torch(exact, method, x)
        got = _played(native, model, method, x) if native else _torch(player, method, x)
        decibels = 10 * torch.log10(want.square().sum() / (got - want).square().sum())
        findings.append(f"{method}, {where} with rounded weights: {float(decibels):.1f} dB above the error")
    return findings


def _played(native: ModuleType, model: Any, method: str, x: Tensor) -> Tensor:
    engine = native.Engine(model, method, streams=x.shape[0], max_hops=4)
    engine.temperature = 0.0
    return torch.from_numpy(engine.process(x.numpy()))


def _torch(shell: Shell, method: str, x: Tensor) -> Tensor:
    player = copy.deepcopy(shell)
    player.set_temperature(0.0)
    call: Callable[[Tensor], Tensor] = getattr(player, method)
    return call(x)


def _inputs(shell: Shell) -> dict[str, Tensor]:
    """Two streams of noise for each method, as long as it takes to hear the delay and more."""
    hop = shell.hop_samples
    hops = max(12, -(-(shell.delay + hop) // hop) + 4)
    x = sounding(shell, 2, hops * hop, 1)
    generator = torch.Generator().manual_seed(2)
    if isinstance(shell.completion, Codebooks):  # some beyond either end
        z = torch.randint(-2, shell.completion.codes + 2, (2, shell.codes, hops), generator=generator).float()
    else:
        z = torch.randn(2, shell.codes, hops, generator=generator)
    return {"forward": x, "encode": x, "decode": z}


def _run(module: torch.jit.ScriptModule, method: str, x: Tensor, blocks: list[int]) -> Tensor:
    module.reset()
    call: Callable[[Tensor], Tensor] = getattr(module, method)
    return torch.cat([call(part) for part in x.split(blocks, 2)], 2)


def _random_blocks(frames: int, multiple: int, seed: int = 0) -> list[int]:
    draw = random.Random(seed)
    blocks = []
    left = frames // multiple
    while left:
        blocks.append(min(left, draw.choice((1, 1, 2, 3, 4))))
        left -= blocks[-1]
    return [b * multiple for b in blocks]


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)


def _close(what: str, got: Tensor, want: Tensor) -> str:
    return _judge(what, float((got - want).abs().max()), float(want.abs().max()) + 1e-9)


def _judge(what: str, error: float, peak: float) -> str:
    """A line that says how close two results are, or a RavelError that says they are not."""
    if not math.isfinite(error) or error > TOLERANCE * peak:
        raise RavelError(
            f"export: {what} differs by {error:.3g} at a peak of {peak:.3g}; nothing was written, please report it"
        )
    return f"{what}: {error / peak:.1e} of peak"

"""From a trained run to a verified `.ts`: folds norms and principal components, scripts, proves parity, and writes."""

from __future__ import annotations

import io
import json
import math
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..card import ENTRY, FORMAT
from ..errors import RavelError
from ..files import atomic_write
from ..model.autoencoder import Autoencoder
from ..model.latent import active_units
from ..model.layers import Conv1d, fold
from ..runs import Trained
from ..training.pca import Principal
from .nn_tilde import ATTRIBUTES, Shell

TOLERANCE = 1e-5  # of peak: torch sums in another order for another number of frames


def latents_kept(principal: Principal, fidelity: float | None, latents: int | None) -> int:
    """How many latents to export: a count, or the fewest that reach a fidelity, or all."""
    size = len(principal.variances)
    if latents is not None:
        if not 1 <= latents <= size:
            raise RavelError(f"--latents {latents}: this model has 1 to {size}")
        return latents
    if fidelity is None:
        return size
    try:
        return active_units(principal.variances, fidelity)
    except ValueError as error:
        raise RavelError(f"--fidelity: {error}") from error


def deploy(trained: Trained, kept: int, streaming: bool) -> Shell:
    """A shell over a folded copy of the network, playing its `kept` strongest latents; the original stays as it is."""
    # not deepcopy: it shares the classes that torch's parametrizations make, and unfolding one would break the other
    net = Autoencoder(trained.config.model)
    net.load_state_dict(trained.net.state_dict())
    net.latent.temperature = trained.net.latent.temperature
    fold(net.eval().requires_grad_(False))
    principal = trained.principal
    into, out_of = cast(Conv1d, net.encoder.layers[-1]), cast(Conv1d, net.decoder.layers[0])
    completion = net.latent.fold_pca(into, out_of, principal.mean, principal.components, kept)
    completion.node = 0  # the autoencoder's own noise sources count from 1
    return Shell(net, completion, streaming).eval().requires_grad_(False)


def card(shell: Shell, trained: Trained, name: str) -> dict[str, Any]:
    """The model card stored in the file: what a host or a person may ask."""
    hop = shell.hop_samples
    late = {
        "forward": shell.delay,
        "encode": shell.latent_delay * hop,
        "decode": shell.delay - shell.latent_delay * hop,
    }
    methods = {}
    for method in shell.get_methods():
        values = [int(v) for v in getattr(shell, f"{method}_params")]
        methods[method] = dict(zip(("in_channels", "in_ratio", "out_channels", "out_ratio"), values, strict=True))
        methods[method]["delay_samples"] = late[method] if shell.streaming else 0
    defaults: dict[str, Any] = {
        "temperature": shell.get_temperature(), "fill": 0.0, "noise": True, "seed": 0,
        "scale": [0, 1.0], "bias": [0, 0.0], "reset": False,
    }  # fmt: skip
    kinds = ("bool", "int", "float")
    attributes = {
        key: {"type": " ".join(kinds[c] for c in codes), "default": defaults[key], "doc": doc}
        for key, (codes, doc) in ATTRIBUTES.items()
    }
    return {
        "format": FORMAT,
        "name": name,
        "preset": trained.config.model.preset,
        "sample_rate_hz": shell.sample_rate_hz,
        "channels": shell.channels,
        "hop_samples": hop,
        "latents": shell.latents,
        "latent_size": trained.config.model.latent,
        "streaming": shell.streaming,
        "methods": methods,
        "attributes": attributes,
        "fidelity_curve": trained.principal.fidelity_curve,
        "parameters": trained.net.trained_parameters(),
        "config": trained.config.to_dict(),
        "training": trained.summary,
    }


def write(shell: Shell, path: Path, about: dict[str, Any], trained: Trained) -> list[str]:
    """Script, save, load back, verify and only then put the file at `path`. Returns what was verified, a line each.

    Raises RavelError when a check fails; no file is left then.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch 2.13 deprecates TorchScript, which nn~ loads
        scripted = _settled(torch.jit.script(shell))
        buffer = io.BytesIO()
        torch.jit.save(scripted, buffer, _extra_files={ENTRY: json.dumps(about)})
        loaded = torch.jit.load(io.BytesIO(buffer.getvalue()))
    findings = verify(loaded, shell, trained)
    with atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return findings


def _settled(scripted: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """Resolve every branch on a layer's integers now, which makes the first two calls 4 to 10 times cheaper.

    `torch.jit.freeze` would also turn the weights into constants, which then could not follow the module to another
    device.
    """
    methods = scripted._c._method_names()
    described = [name for name, _ in scripted.named_buffers(recurse=False)]
    described += [f"{method}_{side}_labels" for method in scripted.get_methods() for side in ("input", "output")]
    freeze_interfaces, preserve_parameters = True, True  # positional: their names differ between torch and its stubs
    frozen = torch._C._freeze_module(scripted._c, methods + described, freeze_interfaces, preserve_parameters)
    return torch.jit._recursive.wrap_cpp_module(frozen)


@torch.no_grad()
def verify(loaded: torch.jit.ScriptModule, shell: Shell, trained: Trained) -> list[str]:
    """Check a loaded `.ts` against the network it came from. Raises RavelError with the numbers of a failure."""
    hop = shell.hop_samples
    hops = max(12, -(-(shell.delay + hop) // hop) + 4)
    x = 0.3 * torch.randn(2, shell.channels, hops * hop, generator=torch.Generator().manual_seed(1))
    loaded.set_temperature(0.0)
    findings = []

    def check(what: str, error: float, peak: float) -> None:
        if not error <= TOLERANCE * peak:
            raise RavelError(
                f"export: {what} differs by {error:.3g} at a peak of {peak:.3g}; nothing was written, please report it"
            )
        findings.append(f"{what}: {error / peak:.1e} of peak")

    if shell.streaming:
        for method, given in (("forward", x), ("encode", x), ("decode", torch.randn(2, shell.latents, hops))):
            ratio = int(getattr(shell, f"{method}_params")[1])
            whole = _run(loaded, method, given, [given.shape[2]])
            blocks = _random_blocks(given.shape[2], hop if ratio == 1 else 1)
            split = _run(loaded, method, given, blocks)
            check(f"{method}, one block against {len(blocks)}", *_difference(split, whole))
            alone = _run(loaded, method, given[:1], [given.shape[2]])
            check(f"{method}, a stream alone against in a batch", *_difference(alone, whole[:1]))
    loaded.set_noise(False)
    got = _run(loaded, "forward", x, [x.shape[2]])
    want = reference(trained, shell.latents, x)
    if not shell.streaming:
        late = -(-shell.delay // hop) * hop
        want = reference(trained, shell.latents, nn.functional.pad(x, (0, late)))[
            ..., shell.delay : shell.delay + x.shape[2]
        ]
    check("forward against the trained network", *_difference(got, want))
    return findings


@torch.no_grad()
def reference(trained: Trained, kept: int, x: Tensor) -> Tensor:
    """What the trained network itself, unfolded, gives for x with the `kept` strongest components and no noise.

    Folding makes zero stand for the mean latent, so the past of the decoder's first convolution is the mean here too.
    """
    net, p = trained.net, trained.principal
    mean = p.mean[:, None]
    z = net.latent.centre(net.encoder(net.analysis(x)))
    z = p.components[:kept].T @ (p.components[:kept] @ (z - mean)) + mean
    state = net.decoder.initial_state(z)
    state = [s * torch.tensor([1, 1, 0]) if s.dtype == torch.int64 else s for s in state]
    state[0] = p.mean.expand_as(state[0])
    bands, _ = net.decoder.step(z, state)
    return net.synthesis(bands)


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


def _difference(a: Tensor, b: Tensor) -> tuple[float, float]:
    worst = float((a - b).abs().max())
    return (worst if math.isfinite(worst) else math.inf), float(b.abs().max()) + 1e-9

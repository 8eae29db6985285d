"""From a trained run to a verified `.ts` and `.ravel`: folds norms and principal components, scripts, writes."""

from __future__ import annotations

import io
import json
import math
import warnings
from pathlib import Path
from typing import Any, cast

import torch

from ..card import ENTRY, FORMAT
from ..errors import RavelError
from ..files import atomic_write, atomic_writes
from ..model.autoencoder import Autoencoder
from ..model.latent import active_units
from ..model.layers import Conv1d, Serial, fold
from ..runs import Trained, TrainedPrior
from ..training.pca import Principal
from . import graph, verify
from .nn_tilde import ATTRIBUTES, PriorShell, Shell


def kept(trained: Trained, fidelity: float | None, latents: int | None, quantisers: int | None) -> int:
    """How many latents to export, or quantisers of a discrete model. Raises RavelError for the other one's dial."""
    if not trained.net.latent.discrete:
        if quantisers is not None:
            raise RavelError(f"--quantisers {quantisers}: this model has no codes; --latents or --fidelity choose")
        return latents_kept(trained.principal, fidelity, latents)
    there = trained.net.latent.kept
    if latents is not None or fidelity is not None:
        dial = f"--fidelity {fidelity:g}" if latents is None else f"--latents {latents}"
        raise RavelError(f"{dial}: this model has codes; --quantisers keeps the first 1 to {there} of its quantisers")
    if quantisers is not None and not 1 <= quantisers <= there:
        raise RavelError(f"--quantisers {quantisers}: this model has 1 to {there}")
    return there if quantisers is None else quantisers


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


def deploy(trained: Trained, kept: int, streaming: bool, prior: TrainedPrior | None = None) -> Shell:
    """A shell over a folded copy of the network, playing its `kept` strongest latents or first quantisers; the original
    stays as it is."""
    # not deepcopy: it shares the classes that torch's parametrizations make, and unfolding one would break the other
    net = Autoencoder(trained.config.model)
    net.load_state_dict(trained.net.state_dict())
    net.latent.temperature = trained.net.latent.temperature
    fold(net.eval().requires_grad_(False))
    behind, net.latent = net.latent.played()
    if behind:
        net.encoder = Serial(*net.encoder.layers, *behind).requires_grad_(False)
        net.align()
    principal = trained.principal
    into, out_of = cast(Conv1d, net.encoder.layers[-1]), cast(Conv1d, net.decoder.layers[0])
    completion = net.latent.deployed(into, out_of, principal.mean, principal.components, kept)
    completion.node = 0  # the autoencoder's own noise sources count from 1
    shell = Shell(net, completion, streaming)
    if prior:
        shell = PriorShell(net, completion, streaming, prior.prior, prior.alphabet.playing(kept))
    return shell.eval().requires_grad_(False)


def card(shell: Shell, trained: Trained, name: str, prior: TrainedPrior | None = None) -> dict[str, Any]:
    """The model card stored in the file: what a host or a person may ask."""
    hop = shell.hop_samples
    late = {
        "forward": shell.delay,
        "encode": shell.latent_delay * hop,
        "decode": shell.delay - shell.latent_delay * hop,
        "prior": shell.prior_delay * hop,
    }
    methods = {}
    for method in shell.get_methods():
        values = [int(v) for v in getattr(shell, f"{method}_params")]
        methods[method] = dict(zip(("in_channels", "in_ratio", "out_channels", "out_ratio"), values, strict=True))
        methods[method]["delay_samples"] = late[method] if shell.streaming else 0
    defaults: dict[str, Any] = {
        "temperature": shell.get_temperature(), "fill": 0.0, "noise": True, "seed": 0,
        "scale": [0, 1.0], "bias": [0, 0.0], "prior_temperature": 1.0, "reset": False,
        "label": shell.last_label, "label_weight": list(shell.last_label_weight),
    }  # fmt: skip
    kinds = ("bool", "int", "float", "str")
    attributes = {
        key: {
            "type": " ".join(kinds[c] for c in ATTRIBUTES[key][0]),
            "default": defaults[key],
            "doc": ATTRIBUTES[key][1],
        }
        for key in shell.attributes
    }
    model = trained.config.model
    extra: dict[str, Any] = {"labels": list(model.labels)} if model.labels else {}
    if shell.discrete:
        bits = shell.codes * math.log2(model.codes)
        extra["codes"] = {
            "kind": model.latent_kind,
            "quantisers": shell.codes,
            "codes": model.codes,
            "bits_per_frame": bits,
            "bits_per_second": bits * shell.sample_rate_hz / hop,
        }
    if prior:
        size = {"quantisers": prior.prior.quantisers, "codes": prior.prior.codes}
        extra["prior"] = prior.summary | size | {"receptive_field_frames": prior.prior.receptive_field}
    return extra | {
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


def write(
    shell: Shell, path: Path, about: dict[str, Any], trained: Trained, weights: str = "fp32"
) -> dict[str, list[str]]:
    """Put the verified `.ts` at `path` and, of a streaming shell, the verified `.ravel` beside it: both, or neither.

    Returns lines on what was found, by suffix. Raises RavelError when a check fails; no file is left then.
    """
    data, findings = _script(shell, about, trained)
    if not shell.streaming:
        with atomic_write(path) as temporary:
            temporary.write_bytes(data)
        return {".ts": findings}
    with atomic_writes(path, path.with_suffix(".ravel")) as (script, engine):
        script.write_bytes(data)
        engine.write_bytes(graph.ravel(shell, about, weights))
        return {".ts": findings, ".ravel": verify.ravel(engine, shell, weights)}


def _script(shell: Shell, about: dict[str, Any], trained: Trained) -> tuple[bytes, list[str]]:
    """The bytes of a `.ts` that was saved, loaded back and verified, and what was verified."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch 2.13 deprecates TorchScript, which nn~ loads
        scripted = _settled(torch.jit.script(shell))
        buffer = io.BytesIO()
        torch.jit.save(scripted, buffer, _extra_files={ENTRY: json.dumps(about)})
        loaded = torch.jit.load(io.BytesIO(buffer.getvalue()))
    return buffer.getvalue(), verify.script(loaded, shell, trained)


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

"""Small networks for tests, deployed or not: every path carries a signal, nothing was learned."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from python.model import layers as L
from python.model.alphabet import Alphabet, codes_alphabet, levels_alphabet
from python.model.autoencoder import Autoencoder
from python.model.config import preset
from python.model.prior import Prior, PriorConfig
from python.model.quantise import Quantised
from python.runs import Trained, TrainedPrior
from python.streaming import deploy
from python.streaming.nn_tilde import Shell
from python.training.pca import Principal

SIZE, KEPT = 8, 5  # latents, and how many of them (or of the quantisers) a deployed network plays
QUANTISERS, CODES = 6, 16


def trained(name: str = "low", **overrides: Any) -> Trained:
    """A network that learned nothing, with principal components all the same."""
    torch.manual_seed(0)
    few = {"quantisers": QUANTISERS, "codes": CODES} if name.endswith("-discrete") else {}
    config = preset(name, **{"capacity": 4, "latent": SIZE, **few, **overrides})
    net = Autoencoder(config.model).eval().requires_grad_(False)
    for module in net.modules():
        if isinstance(module, (L.Conv1d, L.Upsample)) and hasattr(module, "parametrizations"):
            module.weight = module.weight * 1.4
        elif isinstance(module, L.BatchNorm):
            nn.init.uniform_(module.norm.running_var, 0.2, 0.6)
    if net.latent.discrete:  # books that fit what the encoder gives
        h = net.encoder(net.analysis(0.3 * torch.randn(2, config.model.channels, 64 * net.hop_samples)))
        net.latent.train().draw(h, torch.zeros(2, SIZE, h.shape[2]))
        net.latent.eval()
    components = torch.linalg.qr(torch.randn(SIZE, SIZE))[0].T.contiguous()
    principal = Principal(0.1 * torch.randn(SIZE), components, torch.linspace(2, 0.1, SIZE))
    return Trained(net, config, principal, {"steps": 0})


def prior_of(source: Trained) -> TrainedPrior:
    """A prior that learned nothing and prefers some codes, or levels of the latents, all the same."""
    torch.manual_seed(5)
    config = PriorConfig(QUANTISERS, CODES, channels=8, skip=8, rank=4, dilations=(1, 2, 4))
    prior = Prior(config).eval().requires_grad_(False)
    prior.last.weight.mul_(8.0)
    latent, p = source.net.latent, source.principal
    alphabet: Alphabet
    if isinstance(latent, Quantised):
        alphabet = codes_alphabet(latent.codebooks)
    else:
        levels = torch.linspace(-2, 2, CODES) * torch.linspace(1.5, 0.5, QUANTISERS)[:, None]
        alphabet = levels_alphabet(levels, p.mean, p.components)
    return TrainedPrior(prior, alphabet, {"bits_per_frame": 9.0, "markov_bits_per_frame": 10.0})


def deployed_with_prior(name: str, kept: int = KEPT, **overrides: Any) -> tuple[Trained, Shell, TrainedPrior]:
    """A network, its streaming shell and the prior in it, which knows more than the `kept` that are played."""
    source = trained(name, **overrides)
    prior = prior_of(source)
    return source, deploy.deploy(source, kept, True, prior), prior


def deployed(name: str, **overrides: Any) -> tuple[Trained, Shell]:
    """A network whose noise is as loud as its tone, and its streaming shell."""
    source = trained(name, **overrides)
    for module in source.net.modules():
        if isinstance(module, L.Amplitude):
            module.offset = 0.0
    return source, deploy.deploy(source, min(KEPT, source.net.latent.kept), True)

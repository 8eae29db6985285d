"""Training steps the plain way: fp32, autograd over `torch.stft`, gradients also where nobody uses them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..model.autoencoder import Autoencoder
from ..model.config import TrainingConfig
from ..training.discriminators import Discriminators
from ..training.losses import SCALES
from .plain import plain_discriminator, translate

Features = list[list[Tensor]]


class PlainTraining:
    """The three kinds of steps over a translated copy of a network and its discriminators."""

    def __init__(self, net: Autoencoder, discriminator: Discriminators, config: TrainingConfig) -> None:
        self.analysis, self.encoder, self.decoder, self.synthesis = (
            translate(part, False) for part in (net.analysis, net.encoder, net.decoder, net.synthesis)
        )
        for fixed in (self.analysis, self.synthesis):
            fixed.requires_grad_(False)
        self.latent, self.delay = net.latent, net.delay
        self.band_delay = net.decoder.delay - net.analysis.delay
        self.discriminators = plain_discriminator(discriminator)
        self.config = config
        generator = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.generator_optimiser = torch.optim.Adam(generator, 1e-4, config.adam_betas)
        self.discriminator_optimiser = torch.optim.Adam(self.discriminators.parameters(), 1e-4, config.adam_betas)

    def reconstruct(self, x: Tensor, eps: Tensor, train_encoder: bool) -> tuple[Tensor, Tensor, Tensor]:
        """The output (delayed), the spectral loss and the latent's cost."""
        bands = self.analysis(x)
        with torch.set_grad_enabled(train_encoder and torch.is_grad_enabled()):
            z, cost = self.latent.draw(self.encoder(bands), eps)
        band_output = self.decoder(z)
        y = self.synthesis(band_output)
        loss = distance(*aligned(y, x, self.delay)) + distance(*aligned(band_output, bands, self.band_delay))
        return y, loss, cost.sum()

    def phase_1(self, x: Tensor, eps: Tensor) -> None:
        _, loss, cost = self.reconstruct(x, eps, True)
        self._optimise(loss + self.config.beta * cost, self.generator_optimiser)

    def generator(self, x: Tensor, eps: Tensor) -> None:
        y, loss, _ = self.reconstruct(x, eps, False)
        fake, real = (self.judge(t) for t in aligned(y, x, self.delay))
        adversarial = -torch.stack([f[-1].mean() for f in fake]).mean()
        matching = torch.stack([self._matching(r, f) for r, f in zip(real, fake, strict=True)]).mean()
        self._optimise(loss + adversarial + self.config.feature_weight * matching, self.generator_optimiser)

    def discriminator(self, x: Tensor, eps: Tensor) -> None:
        with torch.no_grad():
            z, _ = self.latent.draw(self.encoder(self.analysis(x)), eps)
            y = self.synthesis(self.decoder(z))
        fake, real = (self.judge(t) for t in aligned(y, x, self.delay))
        terms = [torch.relu(1 - r[-1]).mean() + torch.relu(1 + f[-1]).mean() for r, f in zip(real, fake, strict=True)]
        self._optimise(torch.stack(terms).mean(), self.discriminator_optimiser)

    def judge(self, x: Tensor) -> Features:
        return [member(x) for member in self.discriminators]

    def _matching(self, real: list[Tensor], fake: list[Tensor]) -> Tensor:
        terms = []
        for r, f in zip(real[:-1], fake[:-1], strict=True):
            difference = (r - f).abs().mean()
            terms.append(difference / r.abs().mean() if self.config.feature_relative else difference)
        return torch.stack(terms).mean()

    def _optimise(self, loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
        self.generator_optimiser.zero_grad()
        self.discriminator_optimiser.zero_grad()
        loss.backward()
        optimiser.step()


def aligned(y: Tensor, x: Tensor, delay: int) -> tuple[Tensor, Tensor]:
    """Both without their edges, `y` coming `delay` frames after `x`, or before it if negative."""
    frames = x.shape[-1] - abs(delay)
    return y[..., max(delay, 0) :][..., :frames], x[..., max(-delay, 0) :][..., :frames]


def distance(y: Tensor, x: Tensor, floor: float = 1e-4) -> Tensor:
    """The multi-scale spectral distance by `torch.stft` and autograd."""
    y, x = (t.reshape(-1, t.shape[-1]) for t in (y, x))
    terms = []
    for n in SCALES:
        if n > y.shape[-1]:
            continue
        window = torch.hann_window(n)
        a, b = (torch.stft(t, n, n // 4, window=window, center=False, return_complex=True).abs() for t in (y, x))
        relative = torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b)
        terms.append(relative + (torch.log(a + floor) - torch.log(b + floor)).abs().mean())
    return torch.stack(terms).mean()

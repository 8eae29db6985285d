"""From a batch of audio to the numbers that are minimised: delay-compensated distances and the latent's cost."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..model.autoencoder import Autoencoder
from ..model.config import TrainingConfig
from .losses import SpectralDistance


@dataclass
class Reconstruction:
    """Aligned audio (B, channels, T - delay) and the weighted terms whose sum is minimised."""

    real: Tensor
    fake: Tensor
    terms: dict[str, Tensor]


class Objective(nn.Module):
    """Runs the autoencoder on audio and compares what comes out, advanced by its delay, with what went in."""

    def __init__(self, net: Autoencoder, config: TrainingConfig, bf16: bool) -> None:
        super().__init__()
        self.net = net
        net.latent.learn_with(config)
        self.config = config
        self.bf16 = bf16
        self.distance = SpectralDistance(
            log_floor=config.log_floor, relative_weight=config.relative_weight, log_weight=config.log_weight
        )
        # in band frames: the analysis bands, being late themselves, may lag the decoder's
        self.band_delay = net.decoder.delay - net.analysis.delay

    def forward(
        self,
        x: Tensor,
        eps: Tensor,
        beta: float,
        encoder_frozen: bool = False,
        noise_seed: int = 0,
        labels: Tensor | None = None,
    ) -> Reconstruction:
        """x (B, channels, T), eps Gaussians (B, latent, T / hop), weights of labels (B, labels), which only the decoder
        is told. In phase 2 only the decoder learns."""
        net = self.net
        with torch.no_grad():
            bands = net.analysis(x)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            with torch.set_grad_enabled(torch.is_grad_enabled() and not encoder_frozen):
                z, cost = net.latent.draw(net.encoder(bands), eps)
            out_bands = self._decode(z, noise_seed, labels)
        y = net.synthesis(out_bands)
        real, fake = _aligned(x, y, net.delay)
        terms = {"spectral": self.distance(fake, real)}
        if self.config.multiband_weight:
            band_real, band_fake = _aligned(bands, out_bands, self.band_delay)
            terms["multiband"] = self.config.multiband_weight * self.distance(band_fake, band_real)
        if not encoder_frozen:
            terms["latent"] = beta * cost.sum()
        return Reconstruction(real, fake, terms)

    @torch.no_grad()
    def reconstruct(
        self, x: Tensor, eps: Tensor, noise_seed: int = 0, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The aligned pair (real, fake) without losses: what a discriminator step needs."""
        net = self.net
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            z, _ = net.latent.draw(net.encoder(net.analysis(x)), eps)
            out_bands = self._decode(z, noise_seed, labels)
        return _aligned(x, net.synthesis(out_bands), net.delay)

    def _decode(self, z: Tensor, noise_seed: int, labels: Tensor | None) -> Tensor:
        """Bands in float32; each step hears other noise, or the decoder would learn one realisation by heart."""
        return self.net.decode(z, labels, noise_seed).float()


def _aligned(x: Tensor, y: Tensor, delay: int) -> tuple[Tensor, Tensor]:
    """Where both sound: y lags x by `delay` frames, or leads when negative (bands of a causal network)."""
    if delay < 0:
        y, x = _aligned(y, x, -delay)
        return x, y
    return x[..., : x.shape[-1] - delay], y[..., delay:]

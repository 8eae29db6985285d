"""What training minimises: multi-scale spectral distance, hinge adversarial losses, feature matching."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

SCALES = (2048, 1024, 512, 256, 128)


class SpectralDistance(nn.Module):
    """Multi-scale spectral distance of audio or of its bands (RAVE, arXiv 2111.05011, 3.1).

    `forward(y, x)`: two `(streams, channels, frames)` tensors -> scalar; channels (audio channels or PQMF
    bands) are compared as streams of their own. Per scale n, with Hann windows of n samples every n / 4,
    unnormalised as in numpy's rfft, and S = sqrt(|STFT|^2 + log_floor^2):

        ||S(x) - S(y)|| / ||S(x)||  +  mean |log S(x) - log S(y)|

    and the mean over the scales. The norms run over the whole batch, so that a silent crop weighs by its
    energy in the first term, and only the second one cares about it. Only whole windows count; scales longer
    than the signal are left out. `x` is the target and gets no gradient. fp32 inside, also under autocast.

    `log_floor` is an amplitude of the unnormalised spectrum: 1e-4 is 7 dB below the noise of 16-bit audio at
    n = 2048 (8.8e-6 rms times sqrt(3/8 n)), so that the logarithm does not chase dither.
    """

    def __init__(
        self,
        scales: Sequence[int] = SCALES,
        log_floor: float = 1e-4,
        relative_weight: float = 1.0,
        log_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.relative_weight, self.log_weight = relative_weight, log_weight
        self.scales = tuple(scales)
        self.log_floor = log_floor
        for n in self.scales:
            self.register_buffer(f"window_{n}", torch.hann_window(n), persistent=False)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        frames = y.shape[-1]
        scales = [n for n in self.scales if n <= frames]
        if not scales:
            raise ValueError(f"{frames} frames are shorter than the smallest STFT scale, {min(self.scales)}")
        with torch.autocast(y.device.type, enabled=False):
            y, x = y.float().reshape(-1, frames), x.detach().float().reshape(-1, frames)
            terms = [self._distance(self._spectrum(y, n), self._spectrum(x, n)) for n in scales]
        return torch.stack(terms).mean()

    def _spectrum(self, x: Tensor, n: int) -> Tensor:
        window = self.get_buffer(f"window_{n}")
        stft = torch.view_as_real(torch.fft.rfft(x.unfold(-1, n, n // 4) * window))
        return torch.sqrt(stft.square().sum(-1) + self.log_floor**2)  # (streams, windows, n / 2 + 1)

    def _distance(self, y: Tensor, x: Tensor) -> Tensor:
        relative = torch.linalg.vector_norm(x - y) / torch.linalg.vector_norm(x)
        return self.relative_weight * relative + self.log_weight * (torch.log(x) - torch.log(y)).abs().mean()


def hinge_discriminator(real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """Hinge loss of the discriminators: real scores above 1, fake ones below -1 (arXiv 1705.02894).

    Takes what the discriminators return: per discriminator its features, the last being the score.
    """
    terms = [
        torch.relu(1 - r[-1].float()).mean() + torch.relu(1 + f[-1].float()).mean()
        for r, f in zip(real, fake)
    ]
    return torch.stack(terms).mean()


def hinge_generator(fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """Adversarial loss of the generator: minus the mean score, over the discriminators."""
    return -torch.stack([f[-1].float().mean() for f in fake]).mean()


def feature_matching(
    real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]], relative: bool = True
) -> Tensor:
    """L1 distance of the discriminators' features, the score left out (MelGAN, arXiv 1910.06711, eq. 4).

    The mean over features, then over discriminators. `relative` divides each feature's distance by the mean
    magnitude of the real feature, so that no layer counts more for being louder. No gradient reaches `real`.
    """
    terms = []
    for reals, fakes in zip(real, fake, strict=True):
        distances = [
            _mean_distance(r.detach(), f, relative) for r, f in zip(reals[:-1], fakes[:-1], strict=True)
        ]
        terms.append(torch.stack(distances).mean())
    return torch.stack(terms).mean()


def _mean_distance(real: Tensor, fake: Tensor, relative: bool) -> Tensor:
    distance = (real - fake).abs().mean(dtype=torch.float32)
    return distance / real.abs().mean(dtype=torch.float32).clamp_min(1e-9) if relative else distance

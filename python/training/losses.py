"""What training minimises: multi-scale spectral distance, hinge adversarial losses, feature matching."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

SCALES = (2048, 1024, 512, 256, 128)


class SpectralDistance(nn.Module):
    """Multi-scale spectral distance of audio or of its bands (RAVE, arXiv 2111.05011, 3.1).

    `forward(y, x)`: two `(streams, channels, frames)` tensors -> scalar; channels (audio channels or PQMF
    bands) are compared as streams of their own. Per scale n, with Hann windows of n samples every n / 4,
    unnormalised as in numpy's rfft, and S = sqrt(|STFT|^2 + log_floor^2):

        relative_weight * ||S(y) - S(x)|| / ||S(x)||  +  log_weight * mean |log S(y) - log S(x)|

    and the mean over the scales. The norms run over the whole batch, so that a silent crop weighs by its
    energy in the first term, and only the second one cares about it. Only whole windows count; scales longer
    than the signal are left out. `x` is the target and gets no gradient. fp32 inside, also under autocast.

    `log_floor` is an amplitude of the unnormalised spectrum: 1e-4 is 8 dB below the noise of 16-bit audio at
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
        self.weights = (relative_weight, log_weight)
        self.scales = tuple(scales)
        self.log_floor = log_floor
        for n in self.scales:
            self.register_buffer(f"window_{n}", torch.hann_window(n), persistent=False)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        if y.shape != x.shape:
            raise ValueError(f"a distance between tensors of one shape, not of {list(y.shape)} and {list(x.shape)}")
        frames = y.shape[-1]
        windows = [self.get_buffer(f"window_{n}") for n in self.scales if n <= frames]
        if not windows:
            raise ValueError(f"{frames} frames are shorter than the smallest STFT scale, {min(self.scales)}")
        with torch.autocast(y.device.type, enabled=False):
            y, x = (_at_least_fp32(t).reshape(-1, frames).contiguous() for t in (y, x))
            return _SpectralDistance.apply(y, x, windows, self.log_floor, self.weights)


class _SpectralDistance(torch.autograd.Function):
    """The distance with its gradient worked out beside it.

    A scalar's gradient can be made while its spectra are still in the cache, and the scales then share one
    buffer: 1.4 to 2.5 times as fast as autograd over `torch.stft` on one Zen 4 core.
    """

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, x: Tensor, windows: list[Tensor], floor: float, weights: tuple[float, float]
    ) -> Tensor:
        gradient = torch.zeros_like(y) if ctx.needs_input_grad[0] else None
        terms = [_scale_distance(y, x, window.to(y), floor, weights, gradient) for window in windows]
        ctx.gradient = None if gradient is None else gradient.div_(len(windows))
        return torch.stack(terms).mean()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        return ctx.gradient * grads[0], None, None, None, None


def _scale_distance(
    y: Tensor, x: Tensor, window: Tensor, floor: float, weights: tuple[float, float], gradient: Tensor | None
) -> Tensor:
    """The distance of one scale; adds its derivative by `y`, (streams, frames), to `gradient`."""
    n = len(window)
    stft_y, stft_x = (torch.fft.rfft(t.unfold(-1, n, n // 4) * window) for t in (y, x))
    power_y, power_x = (t.real.square().addcmul_(t.imag, t.imag).add_(floor**2) for t in (stft_y, stft_x))
    log_ratio = (power_y / power_x).log_().mul_(0.5)  # (streams, windows, n / 2 + 1), as all the others
    size_y, size_x = power_y.sqrt(), power_x.sqrt_()
    norm_x = torch.linalg.vector_norm(size_x)
    difference = size_y - size_x
    norm = torch.linalg.vector_norm(difference)
    relative_weight, log_weight = weights
    distance = relative_weight * norm / norm_x + log_weight * log_ratio.abs().mean()
    if gradient is not None:
        # dS/dSTFT = STFT / S, so STFT times this real weight is the derivative by STFT
        relative = difference.div_(size_y).mul_(relative_weight / (norm * norm_x).clamp_min(1e-30))
        weight = relative.add_(log_ratio.sign_().div_(power_y), alpha=log_weight / log_ratio.numel())
        _add_rfft_transposed(stft_y.mul_(weight), window, gradient)
    return distance


def _add_rfft_transposed(spectrum: Tensor, window: Tensor, frames: Tensor) -> None:
    """Add the transpose of `rfft(frames.unfold(-1, n, n // 4) * window)` of `spectrum` to `frames`."""
    n = len(window)
    hop, count = n // 4, spectrum.shape[1]
    spectrum[..., 0] *= 2  # irfft doubles every bin but the outer two
    spectrum[..., -1] *= 2
    windows = torch.fft.irfft(spectrum, n, norm="forward").mul_(window / 2).unflatten(-1, (4, hop))
    for quarter in range(4):
        start = quarter * hop
        span = frames[:, start : start + count * hop].unflatten(-1, (count, hop))
        span += windows[:, :, quarter]


def hinge_discriminator(real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """Hinge loss of the discriminators: real scores above 1, fake ones below -1 (arXiv 1705.02894).

    Takes what the discriminators return: per discriminator its features, the last being the score.
    """
    scores = [(r[-1].float(), f[-1].float()) for r, f in zip(real, fake, strict=True)]
    return torch.stack([torch.relu(1 - r).mean() + torch.relu(1 + f).mean() for r, f in scores]).mean()


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
        pairs = zip(reals[:-1], fakes[:-1], strict=True)
        distances: list[Tensor] = [_MeanDistance.apply(f, r.detach(), relative) for r, f in pairs]
        terms.append(torch.stack(distances).mean())
    return torch.stack(terms).mean()


class _MeanDistance(torch.autograd.Function):
    """mean |fake - real|, over mean |real| if `relative`.

    In slices that fit the cache and with fp32 sums: v2's features are 212 million numbers a step, where
    autograd's passes over whole bf16 tensors cost more than the convolutions.
    """

    @staticmethod
    def forward(ctx: Any, fake: Tensor, real: Tensor, relative: bool) -> Tensor:
        sign = torch.empty_like(fake)
        distance, size = fake.new_zeros((2,), dtype=torch.float32)
        slices = min(len(fake), math.ceil(fake.numel() / 2**20)) if fake.device.type == "cpu" else 1
        for f, r, s in zip(*(t.chunk(slices) for t in (fake, real, sign)), strict=True):
            torch.sub(f, r, out=s)
            distance += s.abs().sum(dtype=torch.float32)
            s.sign_()
            if relative:
                size += r.abs().sum(dtype=torch.float32)
        scale = 1 / size.clamp_min(1e-9 * fake.numel()) if relative else size + 1 / fake.numel()
        ctx.save_for_backward(sign, scale)
        return distance * scale

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        sign, scale = ctx.saved_tensors
        return sign * (grads[0] * scale), None, None


def _at_least_fp32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()

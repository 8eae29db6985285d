"""The discriminators of phase 2: on waveforms at several scales, on every p-th sample, on spectrograms."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

KINDS = ("scale", "period", "spectrogram")
SLOPE = 0.2


def build_discriminator(
    kinds: Sequence[str] = ("scale", "period"),
    channels: int = 1,
    capacity: int = 64,
    scales: int = 3,
    periods: Sequence[int] = (2, 3, 5, 7, 11),
    windows: Sequence[int] = (2048, 1024, 512),
) -> Discriminators:
    """The discriminators of v1 (`scale`, 7.75 M parameters) or v2 (`scale` and `period`, 12.07 M).

    `capacity` is the width of the first layer; the spectrogram discriminators, which keep their width through
    all layers, take half of it. Raises ValueError for an unknown kind.
    """
    members: list[nn.Module] = []
    for kind in kinds:
        if kind == "scale":
            members += [ScaleDiscriminator(channels, capacity, 2**i) for i in range(scales)]
        elif kind == "period":
            members += [PeriodDiscriminator(channels, capacity, p) for p in periods]
        elif kind == "spectrogram":
            members += [SpectrogramDiscriminator(channels, capacity // 2, n) for n in windows]
        else:
            raise ValueError(f"unknown discriminator {kind!r}; choose from {', '.join(KINDS)}")
    return Discriminators(members)


class Discriminators(nn.Module):
    """`(streams, channels, frames)` -> per discriminator its features, the last being the score."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        return [member(x) for member in self.members]


class StridedConv(nn.Module):
    """A 1-D convolution with weight norm on `(N, channels, 1, frames)` in channels-last memory.

    Zeros pad both ends: frames -> ceil(frames / stride), as `Conv1d(padding=(kernel - 1) // 2)` for odd
    kernels. The weight is held as (out, kernel, in), which is channels-last already.

    With `blocks` a stride of s is taken by viewing s frames as one of s times the channels: the same sum as a
    dense convolution over blocks, the kernel filled up with zeros. On a 2-core Zen 4 in bf16, forward and
    backward, it is 1.5 times as fast as the strided one for 15 taps by 4 and 64 channels, 2.5 times for 1.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.padding = (kernel - 1) // 2
        self.before = math.ceil(self.padding / stride)  # blocks of history
        self.after = (kernel - 1 - self.padding) // stride
        taps = (self.before + 1 + self.after) * stride
        self.blocks = stride > 1 and (taps * inputs <= 16 or taps <= 1.1 * kernel)  # else the zeros cost more
        self.fill = (self.before * stride - self.padding, taps - kernel - self.before * stride + self.padding)
        bound = 1 / math.sqrt(inputs * kernel)
        self.weight = nn.Parameter(torch.empty(outputs, kernel, inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))
        weight_norm(self, "weight", dim=0)

    def forward(self, x: Tensor) -> Tensor:
        return self._dense(x) if self.blocks else self._strided(x)

    def _strided(self, x: Tensor) -> Tensor:
        weight = self.weight.permute(0, 2, 1).unsqueeze(2)  # (out, in, 1, kernel)
        return F.conv2d(x, weight, self.bias, (1, self.stride), (0, self.padding))

    def _dense(self, x: Tensor) -> Tensor:
        n, channels, _, frames = x.shape
        s = self.stride
        x = x.permute(0, 2, 3, 1)  # (N, 1, frames, channels), contiguous
        x = F.pad(x, (0, 0, self.before * s, self.after * s + -frames % s))
        x = x.reshape(n, 1, -1, s * channels).permute(0, 3, 1, 2)
        weight = F.pad(self.weight, (0, 0, *self.fill)).reshape(len(self.weight), -1, s * channels)
        return F.conv2d(x, weight.permute(0, 2, 1).unsqueeze(2), self.bias)


class ConvNet(nn.Module):
    """Strided convolutions of doubling widths, leaky ReLU, a score per frame (MelGAN, arXiv 1910.06711, 2.2).

    Features are the activations after the leaky ReLU, as in MelGAN and HiFi-GAN.
    """

    def __init__(self, channels: int, capacity: int, kernel: int, stride: int = 4, layers: int = 4) -> None:
        super().__init__()
        widths = [channels, *(capacity * 2**i for i in range(layers))]
        self.layers = nn.ModuleList(StridedConv(i, o, kernel, stride) for i, o in itertools.pairwise(widths))
        self.score = StridedConv(widths[-1], 1, 1)

    def forward(self, x: Tensor) -> list[Tensor]:  # (N, channels, 1, frames)
        features = []
        for layer in self.layers:
            x = F.leaky_relu_(layer(x), SLOPE)
            features.append(x)
        return [*features, self.score(x)]


class ScaleDiscriminator(nn.Module):
    """A `ConvNet` of kernel 15 on audio averaged over `factor` samples (multi-scale: factors 1, 2, 4)."""

    def __init__(self, channels: int, capacity: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.net = ConvNet(channels, capacity, kernel=15)

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.net(F.avg_pool1d(x, self.factor).unsqueeze(2))


class PeriodDiscriminator(nn.Module):
    """A `ConvNet` of kernel 5 on every `period`-th sample (HiFi-GAN, arXiv 2010.05646, 2.3).

    The phases are streams of the batch: the same as 2-D convolutions of kernel (5, 1), up to twice as fast.
    """

    def __init__(self, channels: int, capacity: int, period: int) -> None:
        super().__init__()
        self.period = period
        self.net = ConvNet(channels, capacity, kernel=5)

    def forward(self, x: Tensor) -> list[Tensor]:
        batch, channels, frames = x.shape
        x = F.pad(x, (0, -frames % self.period)).reshape(batch, channels, -1, self.period)
        return self.net(x.permute(0, 3, 1, 2).reshape(batch * self.period, channels, 1, -1))


class SpectrogramDiscriminator(nn.Module):
    """2-D convolutions on the complex STFT (EnCodec, arXiv 2210.13438, 3.4; UnivNet, arXiv 2106.07889, 2.2).

    Real and imaginary parts are channels; frequency is halved three times, time keeps its resolution and is
    seen through dilations 1, 2, 4.
    """

    window: Tensor

    def __init__(self, channels: int, capacity: int, window_samples: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(window_samples), persistent=False)

        def conv(i: int, o: int, kernel: tuple[int, int], stride: int = 1, dilation: int = 1) -> nn.Module:
            padding = (kernel[0] // 2, kernel[1] // 2 * dilation)
            layer = nn.Conv2d(i, o, kernel, (stride, 1), padding, (1, dilation))
            return weight_norm(layer)

        self.layers = nn.ModuleList(
            [
                conv(2 * channels, capacity, (9, 3)),
                *(conv(capacity, capacity, (9, 3), stride=2, dilation=d) for d in (1, 2, 4)),
                conv(capacity, capacity, (3, 3)),
            ]
        )
        self.score = conv(capacity, 1, (3, 3))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self._spectrogram(x)
        features = []
        for layer in self.layers:
            x = F.leaky_relu_(layer(x), SLOPE)
            features.append(x)
        return [*features, self.score(x)]

    def _spectrogram(self, x: Tensor) -> Tensor:
        n = len(self.window)
        with torch.autocast(x.device.type, enabled=False):
            x = F.pad(x.float(), (n // 2, n // 2))
            spectrum = torch.fft.rfft(x.unfold(-1, n, n // 4) * self.window, norm="ortho")
            parts = torch.cat([spectrum.real, spectrum.imag], 1).transpose(2, 3)  # (B, 2 C, bins, windows)
        return parts.contiguous(memory_format=torch.channels_last)

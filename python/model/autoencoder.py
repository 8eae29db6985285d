"""The networks of the RAVE family (arXiv 2111.05011) as streaming layers: encoder, decoder and the autoencoder."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from .config import ModelConfig
from .latent import Latent, Spherical, Variational, Wasserstein
from .layers import (
    Amplitude,
    BatchNorm,
    Conv1d,
    GatedHalf,
    Layer,
    LeakyReLU,
    Product,
    Repeat,
    Residual,
    Serial,
    Snake,
    Sum,
    Tanh,
    Upsample,
    centred_lookahead,
    weight_norm,
)
from .noise import FilteredNoise, NoiseSource
from .pqmf import Analysis, Synthesis
from .quantise import Quantised, VectorQuantised

LATENTS: dict[str, type[Latent]] = {
    "variational": Variational,
    "rvq": Quantised,
    "vq": VectorQuantised,
    "wasserstein": Wasserstein,
    "spherical": Spherical,
}


class Autoencoder(nn.Module):
    """PQMF analysis -> encoder -> latent -> decoder -> PQMF synthesis, aligned as one network.

    Offline `forward` takes audio (B, channels, T), T a multiple of `hop_samples`, and returns it `delay` samples late.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config.attenuation_db, config.bands, config.channels)
        self.latent = LATENTS[config.latent_kind].of(config)
        self.encoder = Encoder(config, self.latent.in_channels)
        self.decoder = Decoder(config)
        self.synthesis = Synthesis(config.attenuation_db, config.bands, config.channels)
        self.hop_samples = config.hop_samples
        for node, source in enumerate(m for m in self.modules() if isinstance(m, NoiseSource)):
            source.node = node + 1
        self.align()

    @property
    def parts(self) -> tuple[Layer, ...]:
        return self.analysis, self.encoder, self.latent, self.decoder, self.synthesis

    def align(self) -> None:
        delay = 0
        for part in self.parts:
            delay = part.align(delay)
        self.delay = delay

    @property
    def receptive_field_samples(self) -> int:
        """Input samples that one hop of output can see."""
        first, last = 0, self.hop_samples - 1
        for part in reversed(self.parts):
            first, last = part.inputs_of(first, last)
        return last - first + 1

    def trained_parameters(self) -> int:
        """Learned numbers as deployed: norms folded, the fixed filter bank left out."""
        convolutions = [m for m in self.modules() if isinstance(m, (Conv1d, Upsample))]
        weights = sum(m.weight.numel() for m in convolutions if not isinstance(m, (Analysis, Synthesis)))
        weights += sum(p.numel() for p in self.latent.parameters())
        return weights + sum(m.norm.bias.numel() for m in self.modules() if isinstance(m, BatchNorm))

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x


class _Build:
    """Layers with the configuration's norm, activation and look-ahead."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config

    def conv(self, cin: int, cout: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1) -> Conv1d:
        c = self.config
        look = centred_lookahead(kernel, stride, dilation) if c.centred else 0
        free = c.free_lookahead and not c.centred
        conv = Conv1d(cin, cout, kernel, stride, dilation, look, groups, free_lookahead=free)
        return cast(Conv1d, weight_norm(conv))

    def plain_conv(self, cin: int, cout: int, kernel: int, stride: int = 1) -> Conv1d:
        c = self.config
        look = centred_lookahead(kernel, stride) if c.centred else 0
        return Conv1d(cin, cout, kernel, stride, lookahead=look, free_lookahead=c.free_lookahead and not c.centred)

    def upsample(self, cin: int, cout: int, ratio: int, level: int) -> Layer:
        c = self.config
        if ratio == 1:
            return self.conv(cin, cout, 3)
        asked = c.decoder_lookahead[level] if c.decoder_lookahead else 0
        return cast(Layer, weight_norm(Upsample(cin, cout, ratio, lookahead=ratio // 2 if c.centred else asked)))

    def act(self, channels: int) -> Layer:
        return Snake(channels) if self.config.activation == "snake" else LeakyReLU(channels)

    def units(self, channels: int, dilations: tuple[int, ...]) -> list[Layer]:
        """Dilated residual units: kernel 3, then kernel 1 (v2) or 3 (v1)."""
        second = 1 if self.config.units == "pointwise" else 3
        return [
            Residual(
                self.act(channels),
                self.conv(channels, channels, 3, dilation=d),
                self.act(channels),
                self.conv(channels, channels, second),
            )
            for d in dilations
        ]


def Encoder(config: ModelConfig, out_channels: int) -> Serial:
    """Bands (B, channels * bands, T / bands) to latent parameters (B, out_channels, T / hop)."""
    build = _Build(config)
    batch_norm = config.encoder_norm == "batch"
    width = config.capacity
    conv = build.plain_conv if batch_norm else build.conv
    layers: list[Layer] = [conv(config.channels * config.bands, width, 7)]
    for stride, dilations in zip(config.strides, config.dilations, strict=True):
        if batch_norm:
            layers += [BatchNorm(width)]
        if config.encoder == "residual":
            layers += build.units(width, dilations)
        kernel = 2 * stride + 1 if config.encoder == "plain" else max(2 * stride, 3)
        layers += [build.act(width), conv(width, 2 * width, kernel, stride)]
        width *= 2
    out = build.conv(width, out_channels, config.encoder_out_kernel, groups=config.encoder_out_groups)
    return Serial(*layers, build.act(width), out)


def Decoder(config: ModelConfig) -> Serial:
    """Latents (B, latent, T / hop) to bands (B, channels * bands, T / bands)."""
    build = _Build(config)
    width = config.capacity << len(config.strides)
    layers: list[Layer] = [build.conv(config.latent, width, config.latent_kernel)]
    for level, ratio in enumerate(config.decoder_strides):
        layers += [build.act(width), build.upsample(width, width // 2, ratio, level)]
        width //= 2
        layers += build.units(width, config.dilations[-1 - level])
    return Serial(*layers, *_head(build, width))


def _head(build: _Build, width: int) -> list[Layer]:
    """The last features to band waveforms: an amplitude-modulated one, plus filtered noise where the preset has it."""
    config = build.config
    bands = config.channels * config.bands
    noise = [_noise_head(build, width)] if config.noise_strides else []
    if config.head == "loudness":  # v1: tanh waveform times one loudness envelope an audio channel
        envelope = Serial(
            build.conv(width, config.channels, 3), Amplitude(config.channels), Repeat(config.channels, config.bands)
        )
        waveform = Product(Serial(build.conv(width, bands, 7), Tanh(bands)), envelope)
        return [Sum(waveform, *noise)] if noise else [waveform]
    waveform_v2 = Serial(build.act(width), build.conv(width, 2 * bands, 7), GatedHalf(bands))
    return [Sum(waveform_v2, *noise) if noise else waveform_v2, Tanh(bands)]


def _noise_head(build: _Build, width: int) -> Layer:
    """Strided convolutions to noise magnitudes, one filter a band and prod(noise_strides) band frames."""
    config = build.config
    bands = config.channels * config.bands
    layers: list[Layer] = []
    ratio = 1
    for i, stride in enumerate(config.noise_strides):
        out = bands * config.noise_bands if i == len(config.noise_strides) - 1 else width
        layers += [build.act(width)] if i else []
        layers += [build.conv(width, out, max(3, stride), stride)]
        ratio *= stride
    # the offset starts the noise near -60 dB, below the waveform
    return Serial(*layers, Amplitude(bands * config.noise_bands, -5.0), FilteredNoise(bands, config.noise_bands, ratio))

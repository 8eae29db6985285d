"""A network the plain way: `conv1d` on contiguous (B, channels, T), translated layer by layer."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from ..model.layers import Conv1d, Delay, Layer, Product, Serial, Sum, Upsample
from ..streaming.nn_tilde import Shell
from ..training.discriminators import ConvNet, Discriminators, PeriodDiscriminator, ScaleDiscriminator


def translate(layer: Layer, cached: bool) -> nn.Module:
    """The same function and weights, with histories of its own for one stream or padded with zeros."""
    if isinstance(layer, (Conv1d, Upsample)):
        form = PlainUpsample if isinstance(layer, Upsample) else PlainConv
        plain = form(layer, cached)  # type: ignore[arg-type]
        if parametrize.is_parametrized(layer, "weight"):
            parametrizations.weight_norm(plain, "weight")
        return plain
    if isinstance(layer, Delay):
        return History(layer.in_channels, layer.frames, layer.frames, cached)
    if isinstance(layer, Serial):
        return nn.Sequential(*(translate(part, cached) for part in layer.children_in_order()))
    if isinstance(layer, Sum):
        branches = [nn.Sequential(translate(b, cached), translate(w, cached)) for b, w in layer.pairs()]
        return Branches(branches, isinstance(layer, Product))
    return Unchanged(layer, cached)


class History(nn.Module):
    """Past frames before a block, kept from the last call or zeros; the last `hold` wait for the next."""

    past: Tensor

    def __init__(self, channels: int, frames: int, hold: int, cached: bool) -> None:
        super().__init__()
        self.frames, self.hold, self.cached = frames, hold, cached
        self.register_buffer("past", torch.zeros(1, channels, frames), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.frames > 0:
            if self.cached:
                x = torch.cat([self.past, x], 2)
                self.past = x[:, :, x.size(2) - self.frames :]
            else:
                x = F.pad(x, [self.frames, 0])
        return x[:, :, : x.size(2) - self.hold] if self.hold > 0 else x


class PlainConv(nn.Module):
    """`conv1d` over history and block."""

    bias: Tensor | None

    def __init__(self, layer: Conv1d, cached: bool) -> None:
        super().__init__()
        self.history = History(layer.in_channels, layer.history, layer.hold, cached)
        self.weight = nn.Parameter(layer.weight.detach().permute(0, 2, 1).contiguous())  # (out, in / groups, kernel)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().clone())
        self.stride, self.dilation, self.groups = layer.stride, layer.dilation, layer.groups

    def forward(self, x: Tensor) -> Tensor:
        return F.conv1d(self.history(x), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class PlainUpsample(nn.Module):
    """`conv_transpose1d` over history and block, its incomplete ends cropped."""

    bias: Tensor | None

    def __init__(self, layer: Upsample, cached: bool) -> None:
        super().__init__()
        self.history = History(layer.in_channels, layer.history, 0, cached)
        phases = layer.weight.detach().unflatten(0, (layer.ratio, layer.out_channels)).flip(2)
        self.weight = nn.Parameter(phases.permute(3, 1, 2, 0).flatten(2).contiguous())  # (in, out, taps * ratio)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach()[: layer.out_channels].clone())
        self.ratio, self.crop = layer.ratio, layer.history * layer.ratio

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose1d(self.history(x), self.weight, self.bias, self.ratio, self.crop)


class Branches(nn.Module):
    """Branches over one input, added or multiplied."""

    def __init__(self, branches: list[nn.Sequential], product: bool) -> None:
        super().__init__()
        self.branches, self.product = nn.ModuleList(branches), product

    def forward(self, x: Tensor) -> Tensor:
        total = x
        for i, branch in enumerate(self.branches):
            y = branch(x)
            total = y if i == 0 else (total * y if self.product else total + y)
        return total


class Unchanged(nn.Module):
    """Activations, norms and noise as they are, on whatever memory comes."""

    state: list[Tensor]

    def __init__(self, layer: Layer, cached: bool) -> None:
        super().__init__()
        self.layer, self.cached = copy.deepcopy(layer), cached
        self.state = layer.initial_state(torch.zeros(1, layer.in_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        y, state = self.layer.step(x, self.state if self.cached else self.layer.initial_state(x))
        if self.cached:
            self.state = state
        return y


class PlainShell(nn.Module):
    """What a deployed model does for one stream at temperature 0, latents that were not exported at rest."""

    def __init__(self, front: nn.Module, back: nn.Module, latents: int, size: int) -> None:
        super().__init__()
        self.front, self.back = front, back
        self.latents, self.size = latents, size

    @torch.jit.export
    def encode(self, x: Tensor) -> Tensor:
        return self.front(x)[:, : self.latents]

    @torch.jit.export
    def decode(self, z: Tensor) -> Tensor:
        if self.latents < self.size:
            z = F.pad(z, [0, 0, 0, self.size - self.latents])
        return self.back(z)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


def plain_shell(shell: Shell) -> PlainShell:
    """A deployed shell, translated."""
    front, back = translate(shell.front, True), translate(shell.back, True)
    return PlainShell(front, back, shell.latents, shell.back.in_channels).eval().requires_grad_(False)


def plain_discriminator(ours: Discriminators) -> nn.ModuleList:
    """The waveform discriminators with `Conv1d`, or `Conv2d` of kernel (k, 1): same weights and features."""
    forms = {ScaleDiscriminator: PlainScale, PeriodDiscriminator: PlainPeriod}
    return nn.ModuleList(forms[type(member)](member) for member in ours.members)


def _plain_layers(net: ConvNet, two_dimensional: bool) -> nn.ModuleList:
    layers = []
    for ours in [*net.layers, net.score]:
        out, kernel, inputs = ours.weight.shape
        conv: nn.Conv1d | nn.Conv2d
        if two_dimensional:
            conv = nn.Conv2d(inputs, out, (kernel, 1), (ours.stride, 1), (ours.padding, 0))
        else:
            conv = nn.Conv1d(inputs, out, kernel, ours.stride, ours.padding)
        with torch.no_grad():
            conv.weight.copy_(ours.weight.permute(0, 2, 1).reshape(conv.weight.shape))
            conv.bias.copy_(ours.bias)  # type: ignore[union-attr]
        layers.append(parametrizations.weight_norm(conv))
    return nn.ModuleList(layers)


def _features(layers: nn.ModuleList, x: Tensor) -> list[Tensor]:
    features = []
    for layer in list(layers)[:-1]:
        x = F.leaky_relu(layer(x), 0.2)
        features.append(x)
    return [*features, layers[-1](x)]


class PlainScale(nn.Module):
    """Averaging, then 1-D convolutions."""

    def __init__(self, ours: ScaleDiscriminator) -> None:
        super().__init__()
        self.factor, self.layers = ours.factor, _plain_layers(ours.net, False)

    def forward(self, x: Tensor) -> list[Tensor]:
        return _features(self.layers, F.avg_pool1d(x, self.factor))


class PlainPeriod(nn.Module):
    """Audio folded into columns, then 2-D convolutions along them."""

    def __init__(self, ours: PeriodDiscriminator) -> None:
        super().__init__()
        self.period, self.layers = ours.period, _plain_layers(ours.net, True)

    def forward(self, x: Tensor) -> list[Tensor]:
        columns = F.pad(x, (0, -x.shape[2] % self.period)).unflatten(2, (-1, self.period))
        return _features(self.layers, columns)

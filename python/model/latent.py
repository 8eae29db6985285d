"""The latent between encoder and decoder: what training samples and pays for, and what a performer plays."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig, TrainingConfig
from .layers import Conv1d, Layer, Spec, State
from .noise import NoiseSource, gaussian, hashed


class Latent(NoiseSource):
    """What every kind of latent offers: variational, spherical and Wasserstein here, discrete in quantise.py.

    heads              encoder output channels a latent dimension needs
    discrete           whether a deployed one plays the numbers of codes
    temperatures       that validation tries when playing
    draw(h, eps)       training: (B, heads * size, T), Gaussians (B, size, T) -> (z, cost per dimension (size,))
    step(h, state)     playing: the same h -> (B, kept, T)
    centre(h)          what latent analysis looks at: (B, size, T)
    encoded(h, ...)    what `encode` of an export of all of it gives, at temperature 0, by definition
    deployed(...)      folds principal components into the neighbours; gives the layer that completes what is played
    limited(h, ...)    the latent (B, size, T) that `deployed` and its layer amount to, by definition
    """

    heads: int
    size: int
    kept: int
    temperature: float
    discrete = False
    temperatures: tuple[float, ...] = (0.0, 0.5, 1.0)

    @classmethod
    def of(cls, config: ModelConfig) -> "Latent":
        raise NotImplementedError

    @torch.jit.unused
    def learn_with(self, training: TrainingConfig) -> None:
        """Take what the configuration says of learning; only codes need any."""

    def draw(self, h: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def centre(self, h: Tensor) -> Tensor:
        raise NotImplementedError

    @torch.jit.unused
    def adopt(self, newer: "Latent") -> None:
        """In an averaged copy, after a step: take over what has no average."""

    @torch.jit.unused
    def measures(self) -> dict[str, Tensor]:
        """What to log of the last batch besides its cost."""
        return {}

    @torch.jit.unused
    def counts(self, h: Tensor) -> Tensor | None:
        """How often each code is taken (quantisers, codes); None without codes."""
        return None

    def deployed(self, into: Conv1d, out_of: Conv1d, mean: Tensor, components: Tensor, kept: int) -> "Completion":
        raise NotImplementedError

    @torch.jit.unused
    @torch.no_grad()
    def encoded(self, h: Tensor, mean: Tensor, components: Tensor) -> Tensor:
        return components @ (self.centre(h) - mean[:, None])

    @torch.jit.unused
    @torch.no_grad()
    def limited(self, h: Tensor, mean: Tensor, components: Tensor, kept: int) -> Tensor:
        return components[:kept].T @ self.encoded(h, mean, components[:kept]) + mean[:, None]

    def played(self) -> tuple[list[Layer], "Latent"]:
        """Layers to put behind the encoder, and the latent that stands for this one when deployed."""
        return [], self


class Variational(Latent):
    """Gaussian posterior with a softplus scale, pulled to N(0, I) (Kingma & Welling, arXiv 1312.6114).

    h holds `size` means, then `size` raw scales. Playing gives mean + temperature * scale * noise, rotated and cut by
    `deployed`.
    """

    rotation: Tensor
    state_shapes: list[list[int]]

    def __init__(self, size: int, temperature: float = 0.0) -> None:
        super().__init__(2 * size, size)
        self.heads, self.size, self.kept = 2, size, size
        self.temperature = temperature
        self.register_buffer("rotation", torch.eye(size), persistent=False)

    @classmethod
    def of(cls, config: ModelConfig) -> "Variational":
        return cls(config.latent, config.temperature)

    def spread(self, h: Tensor) -> Tensor:
        return F.softplus(h[:, self.size :].float()) + 1e-4

    @torch.jit.unused
    def centre(self, h: Tensor) -> Tensor:
        return h[:, : self.size].float()

    @torch.jit.unused
    def draw(self, h: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        mean, scale = self.centre(h), self.spread(h)
        z = mean + scale * eps
        divergence = 0.5 * (mean.square() + scale.square() - 2 * scale.log() - 1)
        return z, divergence.mean((0, 2))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        z = x[:, : self.kept].float()
        if self.temperature != 0.0:
            eps = gaussian(hashed(state[0], self.node, x.size(0), self.size, 0, x.size(2)))
            z = z + self.temperature * torch.matmul(self.rotation[: self.kept], self.spread(x) * eps)
        return z, self.advanced(state[0], x.size(2))

    def spec(self) -> Spec:
        return self.describe("variational", size=self.size, kept=self.kept, node=self.node, rotation=self.rotation)

    @torch.jit.unused
    @torch.no_grad()
    def deployed(self, into: Conv1d, out_of: Conv1d, mean: Tensor, components: Tensor, kept: int) -> "Fill":
        """Move the rotation to principal components into the encoder's last and the decoder's first convolution.

        mean (size,), components (size, size) with one component a row, strongest first; the `kept` strongest are played
        and the returned layer fills the rest. From then on zero stands for the mean latent, also in the histories.
        """
        rows = into.weight[: self.size].flatten(1)
        into.bias = nn.Parameter(torch.zeros(into.out_channels)) if into.bias is None else into.bias
        into.bias[: self.size] = components @ (into.bias[: self.size] - mean)
        into.weight[: self.size] = (components @ rows).view_as(into.weight[: self.size])
        at_mean = (out_of.weight @ mean).sum(1)
        out_of.bias = nn.Parameter(at_mean if out_of.bias is None else out_of.bias + at_mean)
        out_of.weight.copy_(out_of.weight @ components.T)
        self.rotation.copy_(components)
        self.kept = self.out_channels = kept
        return Fill(kept, self.size)


class Wasserstein(Latent):
    """A latent without a scale, whose frames together are pulled to N(0, I) by their maximum mean discrepancy from it
    (WAE-MMD, Tolstikhin et al., arXiv 1711.01558: inverse multiquadratic kernels). It plays what it encodes."""

    heads = 1
    temperatures = (0.0,)
    state_shapes: list[list[int]]

    def __init__(self, size: int) -> None:
        super().__init__(size, size)
        self.size, self.kept, self.temperature = size, size, 0.0

    @classmethod
    def of(cls, config: ModelConfig) -> "Wasserstein":
        return cls(config.latent)

    def point(self, h: Tensor) -> Tensor:
        return h.float()

    @torch.jit.unused
    def centre(self, h: Tensor) -> Tensor:
        return self.point(h)

    @torch.jit.unused
    def draw(self, h: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """`eps` are the draws from the prior that the frames are compared with."""
        with torch.autocast(h.device.type, enabled=False):
            z = self.point(h)
            rows, prior = (x.transpose(1, 2).flatten(0, 1) for x in (z, self.point(eps)))
            return z, discrepancy(rows[:MMD_FRAMES], prior[:MMD_FRAMES]).expand(self.size)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self.point(x), self.advanced(state[0], x.size(2))

    @torch.jit.unused
    @torch.no_grad()
    def played(self) -> tuple[list[Layer], Latent]:
        """As means with a scale of nothing: a convolution of one tap, which takes up the principal components."""
        means = Conv1d(self.size, 2 * self.size, 1, bias=True)
        assert means.bias is not None
        means.weight.copy_(torch.eye(2 * self.size, self.size)[:, None])
        means.bias[self.size :] = -100.0  # softplus gives 0
        latent = Variational(self.size)
        latent.node = self.node
        return [means], latent


class Spherical(Wasserstein):
    """Frames on the sphere of radius sqrt(size), pulled to be even on it."""

    state_shapes: list[list[int]]

    def point(self, h: Tensor) -> Tensor:
        return on_sphere(h.float())

    @torch.jit.unused
    @torch.no_grad()
    def played(self) -> tuple[list[Layer], Latent]:
        layers, latent = super().played()
        return [Sphere(self.size), *layers], latent


class Sphere(Layer):
    """Each frame at the same length, the square root of its channels."""

    state_shapes: list[list[int]]

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return on_sphere(x), state

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def spec(self) -> Spec:
        return self.describe("sphere")


def on_sphere(x: Tensor) -> Tensor:
    return x * (x.size(1) ** 0.5 / x.square().sum(1, keepdim=True).sqrt().clamp_min(1e-6))


MMD_FRAMES = 1024  # that are compared: the cost grows with their square
MMD_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def discrepancy(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased squared maximum mean discrepancy of rows (n, size) of two distributions."""
    count, size = x.shape

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        square = (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.t()).clamp_min(0)
        return torch.stack([2 * size * s / (2 * size * s + square) for s in MMD_SCALES]).sum(0)

    def within(k: Tensor) -> Tensor:
        return (k.sum() - k.diagonal().sum()) / max(1, count * (count - 1))

    return within(kernel(x, x)) + within(kernel(y, y)) - 2 * kernel(x, y).mean()


class Completion(NoiseSource):
    """What makes of the played latents all that the decoder takes."""

    fill: float
    state_shapes: list[list[int]]


class Fill(Completion):
    """Completes `kept` played latents to the decoder's full size: the rest at their mean (fill 0) or N(0, fill^2)."""

    def __init__(self, kept: int, size: int, fill: float = 0.0) -> None:
        super().__init__(kept, size)
        self.kept, self.size, self.fill = kept, size, fill

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        new = self.advanced(state[0], x.size(2))
        if self.kept < self.size:
            missing = self.size - self.kept
            rest = torch.zeros([x.size(0), missing, x.size(2)], dtype=x.dtype, device=x.device)
            if self.fill != 0.0:
                rest = self.fill * gaussian(hashed(state[0], self.node, x.size(0), missing, 0, x.size(2)))
            x = torch.cat([x, rest], 1)
        return x, new

    def spec(self) -> Spec:
        return self.describe("fill", kept=self.kept, size=self.size, node=self.node)


def active_units(variances: Tensor, fidelity: float) -> int:
    """The fewest principal components whose share of the variance reaches `fidelity` (paper, section 3.2)."""
    if not math.isfinite(fidelity) or not 0.0 < fidelity <= 1.0:
        raise ValueError(f"fidelity must lie in (0, 1], got {fidelity}")
    share = variances.cumsum(0) / variances.sum()
    return min(len(variances), int((share < fidelity).sum()) + 1)

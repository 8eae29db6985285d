"""Noise as a pure function of position: hashed integers, Gaussians, and a streaming filtered-noise layer.

Randomness is never drawn: sample = hash(seed, node, stream, channel, frame). Any block split, and a second render, give
the same noise; Python and the engine agree on the integers. A noise layer's state is one int64 tensor
[seed, frame, enabled].
"""

import numpy as np
import torch
from torch import Tensor

from .layers import Layer, Spec, State


def mix(x: Tensor) -> Tensor:
    """The 32-bit finaliser of MurmurHash3 (Appleby, public domain): every input bit moves every output bit."""
    x = x ^ (x >> 16)
    x = (x * 0x85EBCA6B) & 0xFFFFFFFF
    x = x ^ (x >> 13)
    x = (x * 0xC2B2AE35) & 0xFFFFFFFF
    return x ^ (x >> 16)


def hashed(state: Tensor, node: int, streams: int, channels: int, first: int, frames: int) -> Tensor:
    """Uniform 32-bit integers (streams, channels, frames) in int64; `first` counts from the state's position."""
    device = state.device
    key = mix((state[0] ^ (node * 0x9E3779B9)) & 0xFFFFFFFF)
    key = mix(key ^ torch.arange(streams, device=device).view(-1, 1, 1))
    key = mix((key + 0x9E3779B9 + torch.arange(channels, device=device).view(1, -1, 1)) & 0xFFFFFFFF)
    frame = state[1] + first + torch.arange(frames, device=device)
    key = mix(key ^ ((frame >> 32) & 0xFFFFFFFF))
    return mix(((key + 0x7F4A7C15) & 0xFFFFFFFF) ^ (frame & 0xFFFFFFFF))


def uniform(bits: Tensor) -> Tensor:
    """32-bit integers to float32 in [-1, 1), exactly, from the top 24 bits."""
    return (bits >> 8).to(torch.float32) * (2.0**-23) - 1.0


def gaussian(bits: Tensor) -> Tensor:
    """32-bit integers to N(0, 1) by the inverse error function, one integer each.

    The top 23 bits: with 24, the half that keeps away from +-1 would round up to it, and one draw in 2^24 be infinite.
    """
    return torch.erfinv(((bits >> 9).to(torch.float32) + 0.5) * (2.0**-22) - 1.0) * (2.0**0.5)


def reseeded(state: State, seed: int) -> State:
    """The same state with another seed in its noise triples."""
    return [torch.stack([torch.full_like(s[0], seed), s[1], s[2]]) if s.dtype == torch.int64 else s for s in state]


class NoiseSource(Layer):
    """A layer that draws hashed noise. `node` tells the sources of one network apart."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels)
        self.node = 0
        self.state_shapes = [[3, 1]]  # not history: the int64 triple [seed, frame, enabled]

    def initial_state(self, x: Tensor) -> State:
        return [torch.tensor([0, 0, 1], dtype=torch.int64, device=x.device)]

    def advanced(self, state: Tensor, frames: int) -> list[Tensor]:
        step = torch.zeros_like(state)
        step[1] = frames
        return [state + step]


class FilteredNoise(NoiseSource):
    """White noise through one zero-phase FIR filter a frame and band (DDSP, Engel et al., arXiv 2001.04643, 3.4).

    Input (B, bands * noise_bands, T): magnitudes, positive; output (B, bands, T * ratio). The filter of a frame is
    windowed to 2 * (noise_bands - 1) taps and runs over the endless noise: past noise is hashed again, so that no tail
    is dropped or kept.
    """

    response: Tensor
    state_shapes: list[list[int]]

    def __init__(self, bands: int, noise_bands: int, ratio: int) -> None:
        super().__init__(bands * noise_bands, bands)
        self.bands, self.noise_bands, self.ratio, self.up = bands, noise_bands, ratio, ratio
        self.taps = 2 * (noise_bands - 1)
        self.register_buffer("response", torch.from_numpy(_zero_phase(noise_bands)).float())

    def align(self, delay: int) -> int:
        self.delay = delay * self.ratio
        return self.delay

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        return first // self.ratio, last // self.ratio

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        streams, frames = x.size(0), x.size(2)
        new = self.advanced(state[0], frames * self.ratio)
        magnitudes = x.float().reshape(streams, self.bands, self.noise_bands, frames).transpose(2, 3)
        kernel = torch.matmul(magnitudes, self.response)  # (B, bands, T, taps)
        samples = frames * self.ratio + self.taps - 1
        noise = uniform(hashed(state[0], self.node, streams, self.bands, 1 - self.taps, samples))
        windows = noise.unfold(2, self.taps + self.ratio - 1, self.ratio).unfold(3, self.taps, 1)
        y = torch.einsum("sbtrk,sbtk->sbtr", windows, kernel) * state[0][2].to(torch.float32)
        return y.flatten(2).transpose(1, 2).contiguous().transpose(1, 2), new

    def spec(self) -> Spec:
        numbers = {"bands": self.bands, "noise_bands": self.noise_bands, "ratio": self.ratio, "node": self.node}
        return self.describe("filtered_noise", **numbers, response=self.response)


def _zero_phase(noise_bands: int) -> np.ndarray:
    """(noise_bands, taps) matrix from magnitudes on a linear grid to a Hann-windowed, centred impulse response."""
    taps = 2 * (noise_bands - 1)
    response = np.fft.irfft(np.eye(noise_bands), taps, axis=1)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(taps) / taps)
    return np.roll(response, taps // 2, axis=1) * window


__all__ = ["FilteredNoise", "NoiseSource", "gaussian", "hashed", "mix", "uniform"]

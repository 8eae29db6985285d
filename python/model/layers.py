"""Streaming layers: each is one causal block function, and offline is that function started from silence.

The contract
    step(x, state) -> (y, state)   one block. x is (B, channels, T), T a multiple of `down`; y has T / down * up frames.
    align(delay) -> delay          told how late its input is, a layer answers how late its output is. One recursive
                                   pass over the network turns every look-ahead into history, holds and skip delays.
    forward(x)                     `step` from silence; defined here once and never overridden.
    spec() -> node                 what the engine must know to do the same: op, numbers, tensors (streaming/graph.py).

The only state is history: past input frames as rows (B, frames, channels), listed in `state_shapes`.
Memory is channels-last throughout: a (B, C, T) tensor is a transposed (B, T, C), whose windows are rows of a matrix
product, and in which 2-D convolutions in bf16 train 3 to 5 times faster on a CPU.
"""

from collections.abc import Iterator
from itertools import pairwise
from math import gcd
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

State = list[Tensor]
Spec = dict[str, Any]


def silence(x: Tensor, channels: int, frames: int) -> Tensor:
    """A history of zeros (B, frames, channels) on the device and in the dtype of x."""
    return torch.zeros([x.size(0), frames, channels], dtype=x.dtype, device=x.device)


def join(past: Tensor, x: Tensor) -> Tensor:
    """A history (B, frames, C), then a block (B, C, T), as rows (B, frames + T, C)."""
    # autocast hands over bf16 blocks after a float32 silence; a script never trains
    if not torch.jit.is_scripting() and past.dtype != x.dtype:
        past = past.to(x.dtype)
    return torch.cat([past, x.transpose(1, 2)], 1)


def convolve(
    rows: Tensor, weight: Tensor, bias: Tensor | None, stride: int, dilation: int, few_frames: int = 256
) -> Tensor:
    """Valid convolution of rows (B, T, in) with a weight (out, kernel, in), in memory as a window of rows is.

    Returns (B, out, T'). Gathered windows and one matrix product beat conv2d up to `few_frames` output frames (one
    thread, 32 to 768 channels), and for one input channel always (the filter bank: 4 times). A script has only this:
    it costs up to 14 % of a layer at 1024 frames, and saves the branches that take seconds to load.
    """
    streams, channels, kernel = rows.size(0), rows.size(2), weight.size(1)
    frames = (rows.size(1) - (kernel - 1) * dilation - 1) // stride + 1
    if torch.jit.is_scripting() or frames * streams <= few_frames or channels == 1:
        rows = rows.contiguous()
        strides = [rows.stride(0), stride * channels, dilation * channels, 1]
        windows = rows.as_strided([streams, frames, kernel, channels], strides)
        y = F.linear(windows.reshape(streams * frames, kernel * channels), weight.flatten(1), bias)
        return y.view(streams, frames, weight.size(0)).transpose(1, 2)
    x, taps = rows.transpose(1, 2).unsqueeze(2), weight.permute(0, 2, 1).unsqueeze(2)
    return F.conv2d(x, taps, bias, [1, stride], [0, 0], [1, dilation]).squeeze(2)


def initial_weight(out_channels: int, kernel: int, in_channels: int) -> nn.Parameter:
    """Uniform within +-1 / sqrt(fan in), which keeps a stack of residual units near the identity at the start."""
    bound = (kernel * in_channels) ** -0.5
    return nn.Parameter(torch.empty(out_channels, kernel, in_channels).uniform_(-bound, bound))


class Layer(nn.Module):
    """A causal block function; the base class is the identity.

    down, up       `down` input frames give `up` output frames
    delay          output frames by which the output lags the aligned signal, set by `align`
    state_shapes   [channels, frames] of every state tensor, known after `align`
    """

    down: int
    up: int
    delay: int
    state_shapes: list[list[int]]

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.down, self.up, self.delay = 1, 1, 0
        self.state_shapes = []

    def align(self, delay: int) -> int:
        """Take the delay of the input, return the delay of the output, each in frames of its own rate."""
        self.delay = delay
        return delay

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        """The first and last input frame that output frames first..last can see (after `align`)."""
        return first, last

    def initial_state(self, x: Tensor) -> State:
        return [silence(x, shape[0], shape[1]) for shape in self.state_shapes]

    def forward(self, x: Tensor) -> Tensor:
        return self.step(x, self.initial_state(x))[0]

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return x, state

    def spec(self) -> Spec:
        """The layer as `step` uses it, after `align` and `fold`; a container holds the specs of its layers."""
        raise TypeError(f"{type(self).__name__} is no op of the engine: fold it away, or give it a spec")

    def describe(self, op: str, **fields: Any) -> Spec:
        return {"op": op, "in": self.in_channels, "out": self.out_channels, **fields}


if TYPE_CHECKING:  # what TorchScript sees stays a plain ModuleList

    class Layers(nn.ModuleList):
        """A ModuleList that is known to hold layers."""

        def __iter__(self) -> Iterator[Layer]: ...

else:
    Layers = nn.ModuleList


class Delay(Layer):
    """Holds a signal back by a number of frames; skip paths get theirs from `align`."""

    def __init__(self, channels: int, frames: int = 0) -> None:
        super().__init__(channels, channels)
        self.set(frames)

    def set(self, frames: int) -> None:
        self.frames = frames
        self.state_shapes = [[self.in_channels, frames]] if frames else []

    def align(self, delay: int) -> int:
        self.delay = delay + self.frames
        return self.delay

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        return first - self.frames, last - self.frames

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        if self.frames == 0:
            return x, state
        rows = join(state[0], x)
        frames = rows.size(1) - self.frames
        return rows[:, :frames].transpose(1, 2), [rows[:, frames:]]

    def spec(self) -> Spec:
        return self.describe("delay", frames=self.frames)


class Conv1d(Layer):
    """Strided, dilated, grouped convolution; weight (out, kernel, in / groups).

    Aligned output n sees input frames up to n * stride + lookahead. With `free_lookahead`, frames that alignment would
    hold back are seen instead: the delay stays the same.
    """

    bias: Tensor | None
    state_shapes: list[list[int]]  # again: TorchScript reads the annotations of the last class only

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        lookahead: int = 0,
        groups: int = 1,
        bias: bool = False,
        free_lookahead: bool = False,
    ) -> None:
        super().__init__(in_channels, out_channels)
        span = (kernel - 1) * dilation + 1
        if span < stride:
            raise ValueError(f"Conv1d: kernel spans {span} frames, fewer than its stride {stride}")
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"Conv1d: {groups} groups divide neither {in_channels} nor {out_channels} channels")
        self.weight = initial_weight(out_channels, kernel, in_channels // groups)
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.down, self.stride, self.dilation, self.groups = stride, stride, dilation, groups
        self.asked_lookahead, self.free_lookahead = lookahead, free_lookahead
        self.reach = span - stride  # past frames that the first output of a block needs
        self.align(0)

    def align(self, delay: int) -> int:
        late = delay + self.asked_lookahead - (self.stride - 1)
        self.hold = -late % self.stride
        self.delay = (late + self.hold) // self.stride
        self.lookahead = self.asked_lookahead
        if self.free_lookahead:
            self.lookahead, self.hold = self.lookahead + self.hold, 0
        self.history = self.reach + self.hold
        self.state_shapes = [[self.in_channels, self.history]] if self.history else []
        return self.delay

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        return first * self.stride - self.history, last * self.stride + self.stride - 1 - self.hold

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        if self.history > 0:
            rows = join(state[0], x)
            state = [rows[:, rows.size(1) - self.history :]]
            if self.hold > 0:
                rows = rows[:, : rows.size(1) - self.hold]
        else:
            rows = x.transpose(1, 2)
        if self.groups == 1:
            return convolve(rows, self.weight, self.bias, self.stride, self.dilation), state
        weights, inputs = self.weight.chunk(self.groups, 0), rows.chunk(self.groups, 2)
        y = torch.cat([convolve(x, w, None, self.stride, self.dilation) for x, w in zip(inputs, weights)], 1)
        bias = self.bias
        return y if bias is None else y + bias.unsqueeze(1), state

    def spec(self) -> Spec:
        numbers = {"stride": self.stride, "dilation": self.dilation, "groups": self.groups, "hold": self.hold}
        return self.describe("conv1d", kernel=self.weight.size(1), **numbers, weight=self.weight, bias=self.bias)


class Upsample(Layer):
    """Transposed convolution, kernel taps * ratio and stride `ratio`: a convolution of `taps` to ratio * out channels.

    weight (ratio * out, taps, in): row r * out + o, tap i is the transposed kernel at ratio * (taps - 1 - i) + r.
    `lookahead` output frames are cropped from the front in the aligned signal (ratio // 2 for a centred network).
    """

    bias: Tensor | None
    state_shapes: list[list[int]]  # again: TorchScript reads the annotations of the last class only

    def __init__(
        self, in_channels: int, out_channels: int, ratio: int, taps: int = 2, lookahead: int = 0, bias: bool = False
    ) -> None:
        super().__init__(in_channels, out_channels)
        self.weight = initial_weight(ratio * out_channels, taps, in_channels)
        self.bias = nn.Parameter(torch.zeros(ratio * out_channels)) if bias else None
        self.up, self.ratio, self.lookahead = ratio, ratio, lookahead
        self.history = taps - 1
        self.state_shapes = [[in_channels, self.history]] if self.history else []

    def align(self, delay: int) -> int:
        self.delay = delay * self.ratio + self.lookahead
        return self.delay

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        return first // self.ratio - self.history, last // self.ratio

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        if self.history > 0:
            rows = join(state[0], x)
            state = [rows[:, rows.size(1) - self.history :]]
        else:
            rows = x.transpose(1, 2)
        y = convolve(rows, self.weight, self.bias, 1, 1).transpose(1, 2)  # (B, T, ratio * out)
        return y.reshape(y.size(0), -1, self.out_channels).transpose(1, 2), state

    def spec(self) -> Spec:
        return self.describe("upsample", ratio=self.ratio, taps=self.weight.size(1), weight=self.weight, bias=self.bias)


class LeakyReLU(Layer):
    """max(x, 0.2 x), the slope of the paper's networks."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)
        self.slope = 0.2

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return F.leaky_relu(x, self.slope), state

    def spec(self) -> Spec:
        return self.describe("leaky_relu", slope=self.slope)


class Snake(Layer):
    """x + sin(alpha x)^2 / alpha with one learned alpha per channel (Ziyin et al., arXiv 2006.08195)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)
        self.alpha = nn.Parameter(torch.ones(channels))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        alpha = self.alpha.unsqueeze(1)
        return x + torch.sin(alpha * x).square() / (alpha + 1e-9), state

    def spec(self) -> Spec:
        return self.describe("snake", alpha=self.alpha)


class Tanh(Layer):
    """tanh, which bounds a waveform to -1..1."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return torch.tanh(x), state

    def spec(self) -> Spec:
        return self.describe("tanh")


class Amplitude(Layer):
    """2 sigmoid(x)^2.3 + 1e-7, positive as in DDSP (Engel et al., arXiv 2001.04643, B.5 with ln 10 = 2.3)."""

    def __init__(self, channels: int, offset: float = 0.0) -> None:
        super().__init__(channels, channels)
        self.offset = offset

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return 2.0 * torch.sigmoid(x + self.offset) ** 2.3 + 1e-7, state

    def spec(self) -> Spec:
        return self.describe("amplitude", offset=self.offset)


class GatedHalf(Layer):
    """First half of the channels times the sigmoid of the second half: waveform times amplitude."""

    def __init__(self, out_channels: int) -> None:
        super().__init__(2 * out_channels, out_channels)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return F.glu(x, 1), state

    def spec(self) -> Spec:
        return self.describe("gated_half")


class Repeat(Layer):
    """Each channel `times` times in a row: one loudness over all bands of its audio channel."""

    def __init__(self, channels: int, times: int) -> None:
        super().__init__(channels, channels * times)
        self.times = times

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return x.repeat_interleave(self.times, 1), state

    def spec(self) -> Spec:
        return self.describe("repeat", times=self.times)


class BatchNorm(Layer):
    """Batch normalisation; `fold` moves it into the convolution before it."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)
        self.norm = nn.BatchNorm1d(channels)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        return self.norm(x), state


class Serial(Layer):
    """Layers one after another."""

    def __init__(self, *layers: Layer) -> None:
        super().__init__(layers[0].in_channels, layers[-1].out_channels)
        for i, (before, after) in enumerate(pairwise(layers)):
            if before.out_channels != after.in_channels:
                raise ValueError(
                    f"Serial: layer {i + 1} ({type(after).__name__}) expects {after.in_channels} channels, "
                    f"got {before.out_channels}"
                )
        self.layers = Layers(layers)
        self.up, self.down = _reduced(layers)
        self.align(0)

    def align(self, delay: int) -> int:
        self.state_shapes = []
        for layer in self.layers:
            delay = layer.align(delay)
            self.state_shapes = self.state_shapes + layer.state_shapes
        self.delay = delay
        return delay

    @torch.jit.unused
    def children_in_order(self) -> list[Layer]:
        return list(self.layers)

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        for layer in reversed(self.children_in_order()):
            first, last = layer.inputs_of(first, last)
        return first, last

    def initial_state(self, x: Tensor) -> State:
        state: list[Tensor] = []
        for layer in self.layers:
            state += layer.initial_state(x)
        return state

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        new: list[Tensor] = []
        at = 0
        for layer in self.layers:
            end = at + len(layer.state_shapes)
            x, part = layer.step(x, state[at:end])
            new += part
            at = end
        return x, new

    def spec(self) -> Spec:
        return self.describe("serial", layers=[layer.spec() for layer in self.layers])


class Sum(Layer):
    """Branches over one input, delayed to the latest of them and added."""

    def __init__(self, *branches: Layer) -> None:
        first = branches[0]
        super().__init__(first.in_channels, first.out_channels)
        for i, branch in enumerate(branches):
            if (branch.in_channels, branch.out_channels) != (first.in_channels, first.out_channels):
                raise ValueError(
                    f"{type(self).__name__}: branch {i} is {branch.in_channels} -> {branch.out_channels} channels, "
                    f"branch 0 is {first.in_channels} -> {first.out_channels}"
                )
            if branch.up * first.down != first.up * branch.down:
                raise ValueError(f"{type(self).__name__}: branch {i} has another rate than branch 0")
        self.branches = Layers(branches)
        self.waits = Layers([Delay(first.out_channels) for _ in branches])
        self.up = max(branch.up for branch in branches)
        self.down = max(branch.down for branch in branches)
        self.align(0)

    @torch.jit.unused
    def pairs(self) -> list[tuple[Layer, Delay]]:
        return [(branch, cast(Delay, wait)) for branch, wait in zip(self.branches, self.waits, strict=True)]

    def align(self, delay: int) -> int:
        delays = [branch.align(delay) for branch in self.branches]
        self.delay = max(delays)
        self.state_shapes = []
        for (branch, wait), late in zip(self.pairs(), delays, strict=True):
            wait.set(self.delay - late)
            self.state_shapes = self.state_shapes + branch.state_shapes + wait.state_shapes
        return self.delay

    def inputs_of(self, first: int, last: int) -> tuple[int, int]:
        seen = [branch.inputs_of(*wait.inputs_of(first, last)) for branch, wait in self.pairs()]
        return min(s[0] for s in seen), max(s[1] for s in seen)

    def initial_state(self, x: Tensor) -> State:
        state: list[Tensor] = []
        for branch, wait in zip(self.branches, self.waits):
            state += branch.initial_state(x) + wait.initial_state(x)
        return state

    def combine(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        new: list[Tensor] = []
        at = 0
        total = x
        first = True
        for branch, wait in zip(self.branches, self.waits):
            end = at + len(branch.state_shapes)
            y, part = branch.step(x, state[at:end])
            new += part
            at = end + len(wait.state_shapes)
            y, part = wait.step(y, state[end:at])
            new += part
            total = y if first else self.combine(total, y)
            first = False
        return total, new

    def spec(self, op: str = "sum") -> Spec:
        pairs = self.pairs()
        return self.describe(op, branches=[b.spec() for b, _ in pairs], waits=[wait.frames for _, wait in pairs])


class Product(Sum):
    """Branches over one input, delayed to the latest of them and multiplied."""

    def combine(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b

    def spec(self, op: str = "product") -> Spec:
        return super().spec(op)


def Residual(*layers: Layer) -> Sum:
    """x + layers(x), the skip path delayed as the body needs."""
    return Sum(Delay(layers[0].in_channels), Serial(*layers))


def _reduced(layers: tuple[Layer, ...]) -> tuple[int, int]:
    """up and down of a chain: the smallest whole block that every layer in it accepts, and what it gives."""
    down, up = 1, 1
    for layer in layers:
        blocks = layer.down // gcd(up, layer.down)
        down, up = down * blocks, up * blocks // layer.down * layer.up
    return up, down


def centred_lookahead(kernel: int, stride: int = 1, dilation: int = 1) -> int:
    """Look-ahead that centres the window on the hop it stands for."""
    return stride - 1 + ((kernel - 1) * dilation + 1 - stride) // 2


def weight_norm(layer: Conv1d | Upsample) -> Conv1d | Upsample:
    """Weight normalisation (Salimans & Kingma, arXiv 1602.07868), a magnitude an output channel; `fold` removes it."""
    parametrizations.weight_norm(layer, "weight", dim=0)
    return layer


def fold(net: nn.Module) -> None:
    """Turn every norm inside `net` into plain weights and biases, in place. Inference only."""
    for module in net.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")
    for module in net.modules():
        if isinstance(module, Serial):
            module.layers = Layers(_without_batch_norm(module.children_in_order()))


def _without_batch_norm(layers: list[Layer]) -> list[Layer]:
    kept: list[Layer] = []
    for layer in layers:
        before = kept[-1] if kept else None
        if not isinstance(layer, BatchNorm):
            kept.append(layer)
        elif isinstance(before, Conv1d):
            _fold_batch_norm(before, layer.norm)
        else:
            raise ValueError(f"fold: a BatchNorm after {type(before).__name__} has no convolution to go into")
    return kept


@torch.no_grad()
def _fold_batch_norm(conv: Conv1d, norm: nn.BatchNorm1d) -> None:
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    gain = norm.weight / torch.sqrt(variance + norm.eps)
    bias = torch.zeros_like(mean) if conv.bias is None else conv.bias
    conv.weight.mul_(gain[:, None, None])
    conv.bias = nn.Parameter((bias - mean) * gain + norm.bias)

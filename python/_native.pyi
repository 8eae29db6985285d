"""The C++ engine: `.ravel` models without torch."""

import os
from typing import Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

class Error(ValueError):
    """A model file or setting that cannot be used; the text says what, where and what to do."""

class MethodInfo(TypedDict):
    in_channels: int
    in_ratio: int
    out_channels: int
    out_ratio: int
    delay_samples: int

class OpInfo(TypedDict):
    name: str
    kind: str
    flops: float
    weight_bytes: float
    stage: Literal["early", "core", "late"]

class Model:
    """A `.ravel` file, read, checked and packed for one instruction set; immutable."""

    def __init__(self, path: str | os.PathLike[str], isa: str | None = None) -> None:
        """Read the whole file; it is not used afterwards.

        `isa`: one of cpu_features(), else set_isa's choice, else the best. Raises Error, naming the node or tensor, for
        anything that is not a sound model.
        """

    @property
    def name(self) -> str: ...
    @property
    def preset(self) -> str: ...
    @property
    def sample_rate_hz(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def hop_samples(self) -> int: ...
    @property
    def latents(self) -> int: ...
    @property
    def latent_size(self) -> int: ...
    @property
    def weights(self) -> Literal["fp32", "bf16"]: ...
    @property
    def temperature(self) -> float: ...
    @property
    def fidelity_curve(self) -> list[float]: ...
    @property
    def card(self) -> str:
        """Everything that the exporter knew, as JSON."""

    @property
    def isa(self) -> str: ...
    @property
    def weight_bytes(self) -> int: ...
    @property
    def methods(self) -> dict[str, MethodInfo]: ...
    def selftest(self) -> dict[str, float]:
        """Run the golden pair that travels in the file: largest error over peak, for each method."""

class Engine:
    """One method of a model, running: histories of its own over shared weights."""

    temperature: float
    fill: float
    noise: bool
    seed: int

    def __init__(
        self,
        model: Model,
        method: str = "forward",
        streams: int = 1,
        max_hops: int = 1,
        slices: int = 0,
        core_slices: int = 1,
    ) -> None:
        """`streams` independent inputs run side by side, `max_hops` hops at once.

        `slices`: callbacks that a hop is cut into by process_sliced, its core over `core_slices` of them.
        """

    def process(self, x: NDArray[np.float32], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """The output for x, float32 (streams, in_channels, frames) of whole hops, after all that came before.

        Written into `out` when it is given. The interpreter is free meanwhile.
        """

    def process_sliced(
        self,
        x: NDArray[np.float32],
        out: NDArray[np.float32] | None = None,
        seconds: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float32]:
        """The same in slices, `sliced_delay` frames later.

        `seconds`, float64 (hops * slices,), gets the duration of each callback.
        """

    def process_timed(self, x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """The output, and the seconds that each of ops() took over all hops."""

    def reset(self) -> None:
        """Histories to silence, noise to its start, slices to the first."""

    def ops(self) -> list[OpInfo]:
        """The schedule: flops and weight_bytes are those of a hop and stream."""

    def set_scale(self, latent: int, value: float) -> None:
        """Multiply a latent before decoding."""

    def set_bias(self, latent: int, value: float) -> None:
        """Add to a latent before decoding, after scaling."""

    @property
    def method(self) -> str: ...
    @property
    def streams(self) -> int: ...
    @property
    def in_frames(self) -> int: ...
    @property
    def out_frames(self) -> int: ...
    @property
    def delay(self) -> int: ...
    @property
    def sliced_delay(self) -> int: ...
    @property
    def history_bytes(self) -> int: ...

def cpu_features() -> list[str]:
    """Instruction sets that this machine can run, slowest first."""

def set_isa(isa: str | None) -> None:
    """The instruction set of models loaded from now on; None: the best."""

def peak_gflops(seconds: float = 0.2, isa: str | None = None, bf16_dot: bool = False) -> float:
    """GFLOP/s of multiply-adds between registers on one thread: fp32, or the native bfloat16 dot product."""

def read_bandwidth(bytes: int, seconds: float = 0.2) -> float:
    """GB/s of reading a buffer of that many bytes again and again on one thread."""

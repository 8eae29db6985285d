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
    def quantisers(self) -> int:
        """Channels of codes of a discrete model, else 0."""

    @property
    def codes(self) -> int:
        """Codes of each of them, else 0."""

    @property
    def labels(self) -> list[str]:
        """Of the instruments that it plays; none: one instrument."""

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
    prior: float  # how much of what plays is the prior's, 0 to 1; above 0 only where the model has one
    prior_temperature: float
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

    def latest(self, op: int) -> NDArray[np.float32] | None:
        """The newest row of the result of ops()[op], (streams, channels); None where it is not kept."""

    def set_scale(self, latent: int, value: float) -> None:
        """Multiply a latent before decoding."""

    def set_bias(self, latent: int, value: float) -> None:
        """Add to a latent before decoding, after scaling."""

    def set_label_weight(self, label: int, weight: float) -> None:
        """The weight of a label, by number, in what plays, -10 to 10; at first 1 for the first, 0 for the others."""

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

class ControlInfo(TypedDict):
    name: str
    unit: str
    minimum: float
    maximum: float
    default: float

class LatentControl(TypedDict):
    scale: float
    bias: float
    override: float | None

class Meters(TypedDict):
    input_peak: float
    output_peak: float
    load: float
    worst_load: float
    late_hops: int

class Player:
    """A model behind any block size, rate and channel count, with a performer's controls: what every host runs.

    Late by exactly latency_samples.
    """

    seed: int
    offline: bool

    def __init__(self, method: str = "forward") -> None:
        """`method`: forward, encode, decode or prior."""

    def prepare(
        self,
        sample_rate_hz: float,
        max_block: int = 512,
        fixed_block: int = 0,
        in_channels: int | None = None,
        out_channels: int | None = None,
        offline: bool = False,
    ) -> None:
        """Begin from silence for a host; the latency is constant until the next prepare.

        `max_block`: longer calls are cut. `fixed_block`: a promise that every call has as many frames, which shortens
        the latency. `in_channels`, `out_channels`: None is what the model's method has, 1 without a model. `offline`:
        not real time, a worker is waited for.
        """

    def set_mode(self, mode: str, core_slices: int = 0) -> None:
        """automatic, inline, sliced or threaded, from the next prepare on. `core_slices`: 0 is as flat as possible."""

    def set_method(self, method: str) -> None:
        """forward, encode, decode or prior, from the next prepare on."""

    def load(self, model: str | os.PathLike[str] | Model, wait: bool = True) -> None:
        """Load a path or take a Model, and cross-fade to it. What played before plays on until then.

        `wait`: raise Error when it cannot be used; else that is a message, and what played before plays on for good.
        """

    @property
    def loading(self) -> bool: ...
    @property
    def model(self) -> Model | None: ...
    @property
    def path(self) -> str | None: ...
    def take_message(self) -> str | None:
        """The newest error of a load, or warning, since the last call; None when there is none."""

    def process(self, x: NDArray[np.float32], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """The output for x, float32 (in_channels, frames), after all that came before. Any number of frames.

        NaN and infinity count as 0 and never come out. Written into `out` when it is given, which may be x itself. The
        interpreter is free meanwhile.
        """

    @property
    def latency_samples(self) -> int:
        """Host samples from input to output, everything included; 0 while there is no model.

        Of decode: from the last sample of a hop, the one that is read.
        """

    @property
    def wants_prepare(self) -> bool:
        """A model that came later needs more latency than the last prepare found."""

    @property
    def active_mode(self) -> Literal["automatic", "inline", "sliced", "threaded"]: ...
    @property
    def method(self) -> Literal["forward", "encode", "decode", "prior"]: ...
    @property
    def latents(self) -> int: ...
    @property
    def in_channels(self) -> int: ...
    @property
    def out_channels(self) -> int: ...
    @staticmethod
    def controls() -> list[ControlInfo]:
        """What set and get know, ramped over 20 ms. The temperature that nobody set is the model's."""

    @staticmethod
    def switches() -> list[str]:
        """What set and get know as on and off."""

    def set(self, name: str, value: float) -> None:
        """Turn a control, clamped to its range, or a switch. From any thread."""

    def get(self, name: str) -> float:
        """A control's value or a switch's state, as set."""

    def set_latent(self, latent: int, scale: float = 1.0, bias: float = 0.0, override: float | None = None) -> None:
        """Play value * scale + bias, or `override` where it is a number."""

    def set_label_weight(self, label: int, weight: float) -> None:
        """The weight of a label, by number, in what plays, -10 to 10, ramped; models that come take it over."""

    def set_label(self, label: int) -> None:
        """This label alone: 1, the others 0."""

    def label_weight(self, label: int) -> float: ...
    def latent(self, latent: int) -> LatentControl: ...
    @property
    def attributes(self) -> dict[str, tuple[Literal["bool", "int", "float", "str", "tensor"], ...]]:
        """Those of a TorchScript model, by name: the types of their values."""

    def set_attribute(self, name: str, *values: bool | int | float | str) -> None:
        """Set an attribute to these values before the next call of the script; what it refuses is a message."""

    def attribute(self, name: str) -> tuple[bool | int | float | str, ...]:
        """Its values, as set, else as the model has them."""

    def latent_values(self) -> NDArray[np.float32]:
        """The latents as last played, (latents,)."""

    def store_snapshot(self, slot: int) -> None:
        """Keep the latents now playing.

        Slot 0 is heard at morph 0, slot 1 at morph 1, while `morphing` is on.
        """

    def recall_snapshot(self, slot: int) -> None:
        """Freeze at kept latents."""

    def reset(self) -> None:
        """Histories to silence at the next process; what sounded runs out."""

    def meters(self) -> Meters:
        """Peaks, worst_load and late_hops since reset_meters; load: share of real time, smoothed."""

    def reset_meters(self) -> None: ...

def plays_scripts() -> bool:
    """Built with libtorch: Model reads TorchScript too."""

def cpu_features() -> list[str]:
    """Instruction sets that this machine can run, slowest first."""

def set_isa(isa: str | None) -> None:
    """The instruction set of models loaded from now on; None: the best."""

def peak_gflops(seconds: float = 0.2, isa: str | None = None, bf16_dot: bool = False) -> float:
    """GFLOP/s of multiply-adds between registers on one thread: fp32, or the native bfloat16 dot product."""

def read_bandwidth(bytes: int, seconds: float = 0.2) -> float:
    """GB/s of reading a buffer of that many bytes again and again on one thread."""

"""The `.ts` shells: a trained network as TorchScript that speaks the nn~ protocol, streaming or offline.

Protocol (DESIGN of the nn~ externals for Max and Pd): methods map one float tensor (batch, channels, frames) to
another; a buffer METHOD_params holds [in_channels, in_ratio, out_channels, out_ratio]; attributes have get_X, set_X and
X_params.
"""

import math

import torch
from torch import Tensor, nn

from ..model.alphabet import Alphabet
from ..model.autoencoder import Autoencoder, condition_state
from ..model.latent import Completion
from ..model.layers import Serial
from ..model.prior import Prior

BOOL, INT, FLOAT, STRING = 0, 1, 2, 3  # type codes of the protocol

# name -> (type codes of its values, what it does). The engine's externals use the same names.
ATTRIBUTES = {
    "temperature": ([FLOAT], "randomness of the latent when encoding: 0 plays the mean, 1 the whole posterior"),
    "fill": ([FLOAT], "latents that were not exported: 0 rests them at their mean, 1 lets them wander as N(0, 1)"),
    "noise": ([BOOL], "the filtered-noise part of the sound, on or off"),
    "seed": ([INT], "which noise: equal seeds repeat, also after a reset"),
    "scale": ([INT, FLOAT], "latent number and the factor on it before decoding"),
    "bias": ([INT, FLOAT], "latent number and what is added to it before decoding"),
    "label": ([STRING], "which instrument plays, by name or number: its weight 1, that of the others 0"),
    "label_weight": ([STRING, FLOAT], "an instrument, by name or number, and its weight in the blend"),
    "prior_temperature": ([FLOAT], "how freely the prior goes on: 0 takes the likeliest code, 1 draws as it learned"),
    "reset": ([BOOL], "forget the past: histories to silence, noise to its start"),
}
OF_A_PRIOR = ("prior_temperature",)
CONTINUOUS = ("temperature", "fill")  # attributes that codes have no use for
CONDITIONAL = ("label", "label_weight")  # that a model of one instrument has no use for


class Shell(nn.Module):
    """Methods, labels and attributes of the protocol over the parts of a deployed network.

    Streaming: every method keeps histories of its own, so that calls to one leave the others alone; they are made at
    the first call for the batch and device that it comes with, and the output lags by the method's delay. Offline:
    every call starts from silence, and the output is aligned with the input.

    A discrete model encodes to numbers of codes, a channel a quantiser, and decodes them; its latents, which `scale`
    and `bias` shape, are the components of the vectors that they stand for.
    """

    encode_state: list[Tensor]
    decode_state: list[Tensor]
    forward_encode_state: list[Tensor]
    forward_decode_state: list[Tensor]
    prior_state: list[Tensor]
    latent_scale: Tensor
    latent_bias: Tensor
    label_weights: Tensor
    labels: list[str]

    def __init__(self, net: Autoencoder, completion: Completion, streaming: bool) -> None:
        super().__init__()
        self.front = Serial(net.analysis, net.encoder)
        self.latent, self.completion = net.latent, completion
        self.back = Serial(net.decoder, net.synthesis)
        self.latent_delay = net.latent.align(self.front.delay)  # latent frames
        self.delay = self.back.align(self.latent_delay)  # samples, hop wait excluded
        config = net.config
        self.channels, self.discrete = config.channels, net.latent.discrete
        self.codes = net.latent.kept  # channels of what `encode` gives
        self.latents = config.latent if self.discrete else self.codes
        self.labels = list(config.labels)
        self.condition = condition_state(net.decoder)  # its place in the state of `back`
        missing = (CONTINUOUS if self.discrete else ()) + (() if self.labels else CONDITIONAL) + OF_A_PRIOR
        self.attributes = [name for name in ATTRIBUTES if name not in missing]
        self.word = "code" if self.discrete else "latent"
        self.methods = ["forward", "encode", "decode"]
        self.prior_delay = 0  # frames by which `prior` is late
        self.hop_samples, self.sample_rate_hz = config.hop_samples, config.sample_rate_hz
        self.streaming = streaming
        self.encode_state, self.decode_state = [], []
        self.forward_encode_state, self.forward_decode_state = [], []
        self.prior_state = []
        self.noise, self.seed, self.shaped = True, 0, False
        self.last_scale: tuple[int, float] = (0, 1.0)
        self.last_bias: tuple[int, float] = (0, 0.0)
        self.register_buffer("latent_scale", torch.ones(self.latents, 1))
        self.register_buffer("latent_bias", torch.zeros(self.latents, 1))
        self.register_buffer("label_weights", torch.eye(max(1, len(self.labels)))[0])
        self.last_label = self.labels[0] if self.labels else ""
        self.last_label_weight: tuple[str, float] = (self.last_label, 1.0)
        self._describe("forward", [self.channels, 1, self.channels, 1], "audio in", "audio out")
        self._describe("encode", [self.channels, 1, self.codes, self.hop_samples], "audio in", self.word)
        self._describe("decode", [self.codes, self.hop_samples, self.channels, 1], self.word, "audio out")
        for name in self.attributes:
            self.register_buffer(f"{name}_params", torch.tensor(ATTRIBUTES[name][0], dtype=torch.int64))

    @torch.jit.unused
    def _describe(self, method: str, params: list[int], source: str, result: str) -> None:
        self.register_buffer(f"{method}_params", torch.tensor(params, dtype=torch.int64))

        def labels(word: str, count: int) -> list[str]:
            return [f"(signal) {word} {i}" if count > 1 else f"(signal) {word}" for i in range(count)]

        setattr(self, f"{method}_input_labels", labels(source, params[0]))
        setattr(self, f"{method}_output_labels", labels(result, params[2]))

    def check(self, x: Tensor, channels: int, ratio: int, method: str) -> None:
        if x.dim() != 3 or x.size(1) != channels or x.size(2) % ratio != 0 or x.size(2) == 0:
            raise ValueError(
                f"{method}: expects float (batch, {channels}, frames) with frames a multiple of {ratio}, got {x.size()}"
            )

    def started(self, state: list[Tensor], x: Tensor, decoding: bool) -> list[Tensor]:
        """The histories for a stream like x: those given, or silence at the first call or for another batch or device.

        state[0] is always a history, so its batch and device are those of the stream.
        """
        if self.streaming and len(state) > 0 and state[0].size(0) == x.size(0) and state[0].device == x.device:
            return state
        if decoding:
            return self.labelled(self.seeded(self.back.initial_state(x) + self.completion.initial_state(x)))
        return self.seeded(self.front.initial_state(x) + self.latent.initial_state(x))

    def seeded(self, state: list[Tensor]) -> list[Tensor]:
        """The same histories with this object's seed and noise switch in their noise triples."""
        out: list[Tensor] = []
        for s in state:
            if s.dtype == torch.int64:
                s = torch.stack([torch.full_like(s[0], self.seed), s[1], torch.full_like(s[2], int(self.noise))])
            out.append(s)
        return out

    def labelled(self, state: list[Tensor]) -> list[Tensor]:
        """The same histories of a decoder with this object's weights of the labels."""
        if self.condition < 0 or len(state) == 0:
            return state
        out: list[Tensor] = []
        for i, s in enumerate(state):
            out.append(self.label_weights.to(s).expand_as(s) if i == self.condition else s)
        return out

    def analyse(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        h, past = self.front.step(x, state[:-1])
        z, noise = self.latent.step(h, state[-1:])
        return z, past + noise

    def synthesise(self, z: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        if self.shaped and not self.discrete:
            z = z * self.latent_scale + self.latent_bias
        full, noise = self.completion.step(z, state[-1:])
        if self.shaped and self.discrete:
            full = full * self.latent_scale + self.latent_bias
        y, past = self.back.step(full, state[:-1])
        return y, past + noise

    def forward(self, x: Tensor) -> Tensor:
        """Audio (batch, channels, n * hop) to audio of the same shape."""
        self.check(x, self.channels, self.hop_samples, "forward")
        frames = x.size(2)
        if not self.streaming:
            x = self.prolonged(x, self.delay, self.hop_samples)
        z, self.forward_encode_state = self.analyse(x, self.started(self.forward_encode_state, x, False))
        y, self.forward_decode_state = self.synthesise(z, self.started(self.forward_decode_state, x, True))
        return y.contiguous() if self.streaming else y[:, :, self.delay : self.delay + frames].contiguous()

    @torch.jit.export
    def encode(self, x: Tensor) -> Tensor:
        """Audio (batch, channels, n * hop) to latents or code numbers (batch, codes, n)."""
        self.check(x, self.channels, self.hop_samples, "encode")
        if not self.streaming:
            x = self.prolonged(x, self.latent_delay * self.hop_samples, self.hop_samples)
        z, self.encode_state = self.analyse(x, self.started(self.encode_state, x, False))
        return z.contiguous() if self.streaming else z[:, :, self.latent_delay :].contiguous()

    @torch.jit.export
    def decode(self, z: Tensor) -> Tensor:
        """Latents or code numbers (batch, codes, n) to audio (batch, channels, n * hop)."""
        self.check(z, self.codes, 1, "decode")
        frames, late = z.size(2) * self.hop_samples, self.delay - self.latent_delay * self.hop_samples
        if not self.streaming:
            z = self.prolonged(z, -(-late // self.hop_samples), 1)
        y, self.decode_state = self.synthesise(z, self.started(self.decode_state, z, True))
        return y.contiguous() if self.streaming else y[:, :, late : late + frames].contiguous()

    def prolonged(self, x: Tensor, frames: int, multiple: int) -> Tensor:
        """x followed by at least `frames` of zeros, so that what is delayed still comes out."""
        return torch.nn.functional.pad(x, [0, -(-frames // multiple) * multiple])

    @torch.jit.export
    def get_methods(self) -> list[str]:
        return self.methods

    @torch.jit.export
    def get_attributes(self) -> list[str]:
        return self.attributes

    @torch.jit.export
    def get_buffer_attributes(self) -> list[str]:
        empty: list[str] = []
        return empty

    @torch.jit.export
    def get_sample_rate(self) -> int:
        return self.sample_rate_hz

    @torch.jit.export
    def set_sample_rate(self, rate: int) -> int:
        """The network runs at the rate it was trained at; any other one is refused."""
        return 0 if rate == self.sample_rate_hz else -1

    @torch.jit.export
    def get_temperature(self) -> float:
        return self.latent.temperature

    @torch.jit.export
    def get_fill(self) -> float:
        return self.completion.fill

    @torch.jit.export
    def get_noise(self) -> bool:
        return self.noise

    @torch.jit.export
    def get_seed(self) -> int:
        return self.seed

    @torch.jit.export
    def get_scale(self) -> tuple[int, float]:
        return self.last_scale

    @torch.jit.export
    def get_bias(self) -> tuple[int, float]:
        return self.last_bias

    @torch.jit.export
    def get_label(self) -> str:
        return self.last_label

    @torch.jit.export
    def get_label_weight(self) -> tuple[str, float]:
        return self.last_label_weight

    @torch.jit.export
    def get_reset(self) -> bool:
        return False

    @torch.jit.export
    def set_scale(self, latent: int, value: float) -> int:
        if latent < 0 or latent >= self.latents or not math.isfinite(value):
            return -1
        self.latent_scale = self.latent_scale.index_fill(
            0, torch.tensor([latent], device=self.latent_scale.device), value
        )
        self.last_scale = (latent, value)
        self.shaped = True
        return 0

    @torch.jit.export
    def set_bias(self, latent: int, value: float) -> int:
        if latent < 0 or latent >= self.latents or not math.isfinite(value):
            return -1
        self.latent_bias = self.latent_bias.index_fill(0, torch.tensor([latent], device=self.latent_bias.device), value)
        self.last_bias = (latent, value)
        self.shaped = True
        return 0

    def label_number(self, label: str) -> int:
        """Of a label by name, else by number; -1: there is none."""
        for i, name in enumerate(self.labels):
            if name == label:
                return i
        if label.isdigit() and len(label) < 9 and int(label) < len(self.labels):
            return int(label)
        return -1

    def weigh(self, weights: Tensor) -> None:
        self.label_weights = weights
        self.decode_state = self.labelled(self.decode_state)
        self.forward_decode_state = self.labelled(self.forward_decode_state)

    @torch.jit.export
    def set_label(self, label: str) -> int:
        number = self.label_number(label)
        if number < 0:
            return -1
        self.last_label = self.labels[number]
        self.last_label_weight = (self.last_label, 1.0)
        which = torch.tensor([number], device=self.label_weights.device)
        self.weigh(torch.zeros_like(self.label_weights).index_fill(0, which, 1.0))
        return 0

    @torch.jit.export
    def set_label_weight(self, label: str, weight: float) -> int:
        number = self.label_number(label)
        if number < 0 or not abs(weight) <= 10.0:
            return -1
        self.last_label_weight = (self.labels[number], weight)
        which = torch.tensor([number], device=self.label_weights.device)
        self.weigh(self.label_weights.index_fill(0, which, weight))
        return 0

    @torch.jit.export
    def reset(self) -> None:
        self.encode_state = []
        self.decode_state = []
        self.forward_encode_state = []
        self.forward_decode_state = []
        self.prior_state = []

    @torch.jit.export
    def set_reset(self, now: bool) -> int:
        if now:
            self.reset()
        return 0

    @torch.jit.export
    def set_seed(self, value: int) -> int:
        self.seed = value
        self.encode_state = self.seeded(self.encode_state)
        self.decode_state = self.seeded(self.decode_state)
        self.forward_encode_state = self.seeded(self.forward_encode_state)
        self.forward_decode_state = self.seeded(self.forward_decode_state)
        self.prior_state = self.seeded(self.prior_state)
        return 0

    @torch.jit.export
    def set_noise(self, on: bool) -> int:
        self.noise = on
        return self.set_seed(self.seed)

    @torch.jit.export
    def set_temperature(self, value: float) -> int:
        if not 0.0 <= value <= (0.0 if self.discrete else 10.0):
            return -1
        self.latent.temperature = value
        return 0

    @torch.jit.export
    def set_fill(self, value: float) -> int:
        if not 0.0 <= value <= (0.0 if self.discrete else 10.0):
            return -1
        self.completion.fill = value
        return 0


class PriorShell(Shell):
    """A shell whose latents or codes can go on by themselves: `prior` gives frames of them for `decode`.

    Its input is added to the attribute `prior_temperature`, so that an empty inlet leaves that in charge. The first
    frames of a stream are not yet whole and hold -1, which decodes to the mean.
    """

    # TorchScript reads a class's own annotations, not those of its bases
    encode_state: list[Tensor]
    decode_state: list[Tensor]
    forward_encode_state: list[Tensor]
    forward_decode_state: list[Tensor]
    prior_state: list[Tensor]
    latent_scale: Tensor
    latent_bias: Tensor
    label_weights: Tensor
    labels: list[str]

    def __init__(
        self, net: Autoencoder, completion: Completion, streaming: bool, prior: Prior, alphabet: Alphabet
    ) -> None:
        super().__init__(net, completion, streaming)
        self.prior_net, self.alphabet = prior, alphabet
        self.prior_temperature = 1.0
        self.prior_delay = prior.quantisers - 1
        self.methods = [*self.methods, "prior"]
        self._describe("prior", [1, self.hop_samples, self.codes, self.hop_samples], "temperature, added", self.word)
        self.attributes = [*self.attributes, *OF_A_PRIOR]
        for name in OF_A_PRIOR:
            self.register_buffer(f"{name}_params", torch.tensor(ATTRIBUTES[name][0], dtype=torch.int64))

    def begun(self, x: Tensor) -> list[Tensor]:
        """The state of the prior for a batch like x: the one there is, or that before the first frame."""
        state = self.prior_state
        if self.streaming and len(state) > 0 and state[0].size(0) == x.size(0) and state[0].device == x.device:
            return state
        return self.seeded(self.prior_net.begin(x))

    @torch.jit.export
    def prior(self, x: Tensor) -> Tensor:
        """What to add to the temperature (batch, 1, n) to latents or code numbers (batch, codes, n)."""
        self.check(x, 1, 1, "prior")
        late = 0 if self.streaming else self.prior_delay
        warmth = (torch.nan_to_num(x[:, 0]) + self.prior_temperature).clamp(0.0, 10.0)
        warmth = torch.cat([warmth[:, :1].expand(-1, late), warmth], 1)
        codes, state = self.prior_net.generate(warmth, self.begun(x))
        self.prior_state = state
        return self.alphabet.speak(codes[:, :, late:]).contiguous()

    @torch.jit.export
    def prime(self, x: Tensor) -> Tensor:
        """Lets the prior hear what `encode` gives (batch, all that it speaks of, n) before it goes on.

        Gives what it heard, for `decode`.
        """
        self.check(x, self.alphabet.heard, 1, "prime")
        numbers = self.alphabet.listen(x)
        self.prior_state = self.prior_net.prime(numbers, self.begun(x))
        return self.alphabet.speak(numbers).contiguous()

    @torch.jit.export
    def get_prior_temperature(self) -> float:
        return self.prior_temperature

    @torch.jit.export
    def set_prior_temperature(self, value: float) -> int:
        if not 0.0 <= value <= 10.0:
            return -1
        self.prior_temperature = value
        return 0

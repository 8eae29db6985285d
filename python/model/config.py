"""One frozen configuration: what the network is, how it is trained, and the presets that name good choices."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Any

from ..errors import RavelError

MOST_QUANTISERS, MOST_CODES = 64, 65536


@dataclass(frozen=True)
class ModelConfig:
    """Everything the network is made of. Rates are given per PQMF band frame, `bands` samples each."""

    preset: str = "low"
    sample_rate_hz: int = 44100
    channels: int = 1  # audio channels sharing one latent
    bands: int = 16
    attenuation_db: int = 100  # PQMF stop band: 40, 70 or 100
    latent: int = 128
    latent_kind: str = (
        "variational"  # or wasserstein, spherical; codes: rvq (residual, averaged codebooks), vq (one, by gradient)
    )
    quantisers: int = 0  # codebooks of rvq, each for what those before it left over
    codes: int = 1024  # of a codebook
    temperature: float = 0.0  # of the latent when playing, 0 = the posterior mean
    capacity: int = 96  # width of the level next to the bands; doubles a level
    strides: tuple[int, ...] = (4, 4, 4, 2)  # encoder, from the bands down
    decoder_strides: tuple[int, ...] = (2, 4, 4, 4)  # decoder, from the latent up
    encoder: str = "residual"  # residual (v2) or plain (v1)
    encoder_norm: str = "weight"  # weight or batch
    units: str = "pointwise"  # dilated unit: kernel 3 then 1 (pointwise, v2) or 3 then 3 (pair, v1)
    dilations: tuple[tuple[int, ...], ...] = ((1, 3, 9), (1, 3, 9), (1, 3, 9), (1, 3))  # per level, from the bands down
    activation: str = "leaky_relu"  # leaky_relu or snake
    head: str = "gated"  # gated (v2: waveform * sigmoid) or loudness (v1: waveform * envelope)
    latent_kernel: int = 3  # of the convolutions next to the latent: decoder side
    encoder_out_kernel: int = 3
    encoder_out_groups: int = 1
    noise_strides: tuple[int, ...] = ()  # empty: no filtered-noise head
    noise_bands: int = 32
    centred: bool = False  # centred convolutions (RAVE's default) instead of causal ones
    free_lookahead: bool = True  # causal: strided layers see what alignment would hold back anyway
    decoder_lookahead: tuple[int, ...] = ()  # causal: output frames of look-ahead of each upsampling

    @property
    def hop_samples(self) -> int:
        hop = self.bands
        for stride in self.strides:
            hop *= stride
        return hop

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        _require(self.channels in (1, 2), f"channels: 1 or 2, got {self.channels}")
        _require(self.sample_rate_hz > 0, f"sample_rate_hz: must be positive, got {self.sample_rate_hz}")
        _require(self.attenuation_db in (40, 70, 100), f"attenuation_db: 40, 70 or 100, got {self.attenuation_db}")
        _require(self.latent >= 1 and self.capacity >= 1, "latent and capacity must be at least 1")
        _require(
            sorted(self.strides) == sorted(self.decoder_strides), "decoder_strides must be a reordering of strides"
        )
        _require(len(self.dilations) == len(self.strides), "dilations: one tuple for each stride")
        choices = {
            "encoder": ("residual", "plain"),
            "encoder_norm": ("weight", "batch"),
            "units": ("pointwise", "pair"),
            "activation": ("leaky_relu", "snake"),
            "head": ("gated", "loudness"),
            "latent_kind": ("variational", "rvq", "vq", "wasserstein", "spherical"),
        }
        for name, allowed in choices.items():
            _require(getattr(self, name) in allowed, f"{name}: {' or '.join(allowed)}, got {getattr(self, name)!r}")
        if self.latent_kind in ("rvq", "vq"):
            most = MOST_QUANTISERS if self.latent_kind == "rvq" else 1
            _require(
                1 <= self.quantisers <= most,
                f"quantisers: {'1 to ' + str(most) if most > 1 else '1'} with latent_kind {self.latent_kind}, "
                f"got {self.quantisers}",
            )
            _require(2 <= self.codes <= MOST_CODES, f"codes: 2 to {MOST_CODES}, got {self.codes}")
        else:
            _require(
                self.quantisers == 0,
                f"quantisers: latent_kind {self.latent_kind} has none; choose a discrete preset or --latent-kind rvq",
            )
        if self.decoder_lookahead:
            _require(len(self.decoder_lookahead) == len(self.strides), "decoder_lookahead: one number for each stride")


@dataclass(frozen=True)
class TrainingConfig:
    """Everything a training run decides besides the network."""

    batch: int = 8
    crop_samples: int = 65536
    steps: int = 1_000_000  # both phases together
    budget_s: float = 0.0  # wall-clock limit for both phases; 0 = by steps
    phase_1: str = "auto"  # auto, or the share of the steps, 0..1
    learning_rate: float = 1e-3
    phase_2_learning_rate: float = 2e-4
    discriminator_learning_rate: float = 2e-4
    warmup_steps: int = 200
    adam_betas: tuple[float, float] = (0.9, 0.99)  # phase 1
    adversarial_adam_betas: tuple[float, float] = (0.5, 0.9)
    gradient_clip: float = 1.0
    ema: float = 0.999
    beta: float = 0.005  # weight of the latent's cost: KL summed over latents; codes: mean squared distance
    beta_warmup_steps: int = 500
    commitment: float = 0.25  # codes: weight of the encoder's part of the latent's cost
    code_decay: float = 0.99  # rvq: of the averages that its codes follow
    code_revival: float = 0.5  # a code used less than this of its even share becomes a frame of the batch
    quantiser_dropout: float = 0.5  # rvq: share of the items that hear only their first so many quantisers
    log_floor: float = 1e-4  # magnitude under which spectra count as silent
    relative_weight: float = 1.0
    log_weight: float = 1.0
    multiband_weight: float = 1.0
    adversarial_weight: float = 1.0
    feature_weight: float = 10.0
    feature_relative: bool = False
    discriminators: tuple[str, ...] = ("scale",)
    discriminator_capacity: int = 64
    discriminator_every: int = 2  # one discriminator step in this many
    augment_gain: float = 0.5  # probabilities; what each does is in training/augment.py
    augment_phase: float = 0.5
    augment_compress: float = 0.1
    augment_mute: float = 0.02
    augment_dither: float = 0.0
    augment_rate: float = 0.0
    validate_every: int = 500
    validation_seconds: float = 60.0
    precision: str = "auto"  # auto, fp32 or bf16
    compile: bool = False
    seed: int = 0


_V1: dict[str, Any] = {
    "capacity": 64,
    "strides": (4, 4, 4, 2),
    "decoder_strides": (4, 4, 4, 2),
    "encoder": "plain",
    "encoder_norm": "batch",
    "units": "pair",
    "dilations": ((1, 3, 5),) * 4,
    "head": "loudness",
    "latent_kernel": 7,
    "encoder_out_kernel": 5,
    "encoder_out_groups": 2,
    "noise_strides": (4, 4, 4),
    "noise_bands": 5,
}
_LOW = _V1 | {
    "capacity": 32,
    "strides": (2, 2, 2, 1),
    "decoder_strides": (2, 2, 2, 1),
    "encoder_norm": "weight",
    "dilations": ((3, 9, 27, 36),) * 4,
    "attenuation_db": 40,
    "noise_strides": (),
    "decoder_lookahead": (1, 1, 0, 0),  # 6 band frames: with the PQMF 155 samples of delay
}
_V2: dict[str, Any] = {}
_V2_SMALL: dict[str, Any] = {
    "capacity": 48,
    "strides": (4, 2, 2, 2),
    "decoder_strides": (2, 2, 2, 4),
    "noise_strides": (2, 2, 2),
    "noise_bands": 32,
}
_CODES: dict[str, Any] = {"latent_kind": "rvq", "encoder_out_groups": 1, "codes": 1024}
_V2_TRAINING: dict[str, Any] = {"crop_samples": 131072, "discriminators": ("scale", "period")}
_LOW_TRAINING: dict[str, Any] = {"learning_rate": 1.5e-3, "crop_samples": 32768}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "v1": {"model": _V1, "training": {"crop_samples": 131072}},
    "v2": {"model": _V2, "training": _V2_TRAINING},
    "v2-small": {"model": _V2_SMALL, "training": _V2_TRAINING},
    "low": {"model": _LOW, "training": _LOW_TRAINING},
    "v2-discrete": {"model": _V2 | _CODES | {"quantisers": 16}, "training": _V2_TRAINING | {"beta": 1.0}},
    "low-discrete": {
        "model": _LOW | _CODES | {"latent": 64, "quantisers": 8},
        "training": _LOW_TRAINING | {"beta": 1.0},
    },
}


@dataclass(frozen=True)
class Config:
    """A model and its training, as stored in a run, a checkpoint and an export."""

    model: ModelConfig
    training: TrainingConfig

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @staticmethod
    def from_dict(data: dict[str, Any]) -> Config:
        return Config(_build(ModelConfig, data["model"]), _build(TrainingConfig, data["training"]))


def preset(name: str, **overrides: Any) -> Config:
    """The configuration called `name`, with any field of model or training replaced.

    Raises RavelError for an unknown preset or field, naming the nearest known one.
    """
    if name not in PRESETS:
        raise RavelError(f"unknown preset {name!r}{_nearest(name, PRESETS)}; there are {', '.join(PRESETS)}")
    model_fields = {f.name for f in dataclasses.fields(ModelConfig)}
    training_fields = {f.name for f in dataclasses.fields(TrainingConfig)}
    for field in overrides:
        if field not in model_fields | training_fields:
            raise RavelError(f"unknown field {field!r}{_nearest(field, model_fields | training_fields)}")
    chosen = PRESETS[name]
    model = chosen["model"] | {k: v for k, v in overrides.items() if k in model_fields} | {"preset": name}
    training = chosen["training"] | {k: v for k, v in overrides.items() if k in training_fields}
    return Config(_build(ModelConfig, model), _build(TrainingConfig, training))


def parse_field(kind: Any, text: str) -> Any:
    """A command-line text as a value of the type of `kind`; tuples are written '4,4,2', tuples of tuples '1,3/1,3'."""
    if isinstance(kind, bool):
        if text.lower() not in ("true", "false", "yes", "no", "on", "off", "1", "0"):
            raise ValueError(f"expected yes or no, got {text!r}")
        return text.lower() in ("true", "yes", "on", "1")
    if isinstance(kind, tuple):
        if kind and isinstance(kind[0], tuple):
            return tuple(parse_field(kind[0], part) for part in text.split("/"))
        parts = [part for part in text.split(",") if part]
        return tuple(parse_field(kind[0] if kind else 0, part) for part in parts)
    return type(kind)(text)


def _build(cls: Any, data: dict[str, Any]) -> Any:
    known = {f.name: f for f in dataclasses.fields(cls)}
    for name in data:
        if name not in known:
            raise RavelError(f"unknown field {name!r}{_nearest(name, known)}")
    return cls(**{k: _frozen(v) for k, v in data.items()})


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, (list, tuple)) else value


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    return f", did you mean {close[0]!r}?" if close else ""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise RavelError(f"configuration: {message}")

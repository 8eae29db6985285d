"""Presets, overrides, texts of the command line, and one clear line for whatever cannot be built."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from python.errors import RavelError
from python.model.config import PRESETS, Config, ModelConfig, TrainingConfig, parse_field, preset


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_json(name: str) -> None:
    config = preset(name, centred=True, channels=2)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.model.preset == name


@pytest.mark.parametrize(("name", "hop"), [("v1", 2048), ("v2", 2048), ("v2-small", 512), ("low", 128)])
def test_hops(name: str, hop: int) -> None:
    assert preset(name).model.hop_samples == hop


def test_overrides_reach_model_and_training() -> None:
    config = preset("low", latent=16, batch=3, sample_rate_hz=48000)
    assert (config.model.latent, config.training.batch, config.model.sample_rate_hz) == (16, 3, 48000)
    assert preset("low").model.latent == 128


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        preset("low").model.latent = 3  # type: ignore[misc]


def test_field_names_of_model_and_training_do_not_collide() -> None:
    """Each is a flag of its own on the command line."""
    model, training = ({f.name for f in dataclasses.fields(c)} for c in (ModelConfig, TrainingConfig))
    assert not model & training


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("lo", {}, "unknown preset 'lo', did you mean 'low'?; there are v1, v2, v2-small, low"),
        ("piano", {}, "unknown preset 'piano'; there are"),
        ("low", {"latnt": 3}, "unknown field 'latnt', did you mean 'latent'?"),
        ("low", {"channels": 6}, "channels: 1 or 2, got 6"),
        ("low", {"sample_rate_hz": 0}, "sample_rate_hz: must be positive, got 0"),
        ("low", {"attenuation_db": 60}, "attenuation_db: 40, 70 or 100, got 60"),
        ("low", {"latent": 0}, "latent"),
        ("low", {"capacity": 0}, "capacity"),
        ("low", {"strides": (2, 2)}, "strides"),
        ("low", {"decoder_strides": (2, 2, 2, 2)}, "decoder_strides"),
        ("low", {"dilations": ((1,),)}, "dilations: one tuple for each stride"),
        ("low", {"head": "torso"}, "head: gated or loudness, got 'torso'"),
        ("low", {"encoder": "x"}, "encoder: residual or plain"),
        ("low", {"encoder_norm": "x"}, "encoder_norm: weight or batch"),
        ("low", {"units": "x"}, "units: pointwise or pair"),
        ("low", {"activation": "x"}, "activation: leaky_relu or snake"),
        ("low", {"decoder_lookahead": (1,)}, "decoder_lookahead: one number for each stride"),
    ],
)
def test_what_cannot_be_built_is_one_clear_line(name: str, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(RavelError) as error:
        preset(name, **overrides)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_field_of_another_version_is_named() -> None:
    data = preset("low").to_dict()
    data["model"]["colour"] = "red"
    with pytest.raises(RavelError, match="unknown field 'colour'"):
        Config.from_dict(data)


@pytest.mark.parametrize(
    ("default", "text", "value"),
    [
        (1, "7", 7),
        (0.1, "1e-3", 1e-3),
        ("auto", "0.5", "0.5"),
        (False, "yes", True),
        (True, "off", False),
        ((1, 2), "4,4,2", (4, 4, 2)),
        ((), "1,1,0,0", (1, 1, 0, 0)),
        ((0.5, 0.9), "0.8,0.99", (0.8, 0.99)),
        (("scale",), "scale,period", ("scale", "period")),
        (((1, 3),), "1,3/9", ((1, 3), (9,))),
        ((1,), "", ()),
    ],
)
def test_texts_become_values_of_the_defaults_type(default: Any, text: str, value: Any) -> None:
    parsed = parse_field(default, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(("default", "text"), [(1, "x"), (1, "1.5"), (0.1, ""), (True, "maybe"), ((1,), "1,b")])
def test_texts_that_are_no_values_are_refused(default: Any, text: str) -> None:
    with pytest.raises(ValueError):
        parse_field(default, text)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(ModelConfig)])
def test_every_field_survives_the_command_line(field: str) -> None:
    """What `--field` would be given to repeat the default is parsed back to it."""
    default = getattr(preset("low").model, field)

    def text(value: Any) -> str:
        if isinstance(value, tuple):
            return ("/" if value and isinstance(value[0], tuple) else ",").join(map(text, value))
        return str(value)

    assert parse_field(getattr(ModelConfig, field), text(default)) == default

"""Config dataclasses to dicts and back: for JSON, and for overrides from the command line."""

import dataclasses
import typing
from fractions import Fraction

from oyster_jax.errors import OysterError, check


def to_dict(config) -> dict:
    """A dataclass as plain JSON types; `from_dict` is its inverse."""
    return _plain(config, list)


def _plain(value, sequence: type):
    """Dataclasses as dicts, fractions as text, tuples as `sequence`, all the way down."""
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name), sequence) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return sequence(_plain(v, sequence) for v in value)
    return str(value) if isinstance(value, Fraction) else value


def from_dict(cls, data: dict, path: str = "config"):
    """Builds `cls` from a dict, checking every field; raises OysterError naming the field that does not fit."""

    def build(kind, value, where):
        if dataclasses.is_dataclass(kind):
            check(isinstance(value, dict), f"{where} must be a mapping, got {type(value).__name__}")
            hints = typing.get_type_hints(kind)
            unknown = sorted(set(value) - set(hints))
            check(not unknown, f"{where} has no field {', '.join(unknown)}; it has {', '.join(sorted(hints))}")
            try:
                return kind(**{k: build(hints[k], v, f"{where}.{k}") for k, v in value.items()})
            except TypeError as e:
                raise OysterError(f"{where}: {e}") from None
        if typing.get_origin(kind) is tuple:
            item = typing.get_args(kind)[0]
            check(isinstance(value, (list, tuple)), f"{where} must be a list, got {value!r}")
            return tuple(build(item, v, f"{where}[{i}]") for i, v in enumerate(value))
        if kind is Fraction:
            try:
                return Fraction(value)
            except (ValueError, ZeroDivisionError):
                raise OysterError(f"{where} must be a number or a ratio like 35/4, got {value!r}") from None
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        check(isinstance(value, kind), f"{where} must be {kind.__name__}, got {value!r}")
        return value

    return build(cls, data, path)


def first_difference(a: dict, b: dict, path: str = "config") -> str | None:
    """Names the first field in which two config dicts differ, with both values; None if they are equal."""
    for key in sorted(set(a) | set(b)):
        x, y = a.get(key), b.get(key)
        if isinstance(x, dict) and isinstance(y, dict):
            if found := first_difference(x, y, f"{path}.{key}"):
                return found
        elif x != y:
            return f"{path}.{key}: {x!r} against {y!r}"
    return None


def as_config_dict(config):
    """An experiment as the `ml_collections.ConfigDict` that a config file returns and `--config.FIELD=` overrides."""
    from ml_collections import ConfigDict

    return ConfigDict(_plain(config, tuple))

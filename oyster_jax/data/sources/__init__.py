"""Where clips come from: `make_source("ale:breakout", options)`."""

import importlib

from oyster_jax.data.sources.base import RawClip, Source, SourceOptions
from oyster_jax.errors import OysterError

__all__ = ["RawClip", "Source", "SourceOptions", "make_source"]

# kind: (module, the extra that its libraries come with)
_KINDS = {
    "reef": ("oyster_jax.data.sources.reef", "train"),
    "ale": ("oyster_jax.data.sources.ale", "sims"),
    "vizdoom": ("oyster_jax.data.sources.vizdoom", "sims"),
    "video": ("oyster_jax.data.sources.video", "media"),
}


def make_source(name: str, options: SourceOptions = SourceOptions()) -> Source:
    """The source called `reef`, `ale:GAME`, `vizdoom:SCENARIO` or `video:GLOB`; or OysterError."""
    kind, _, argument = name.partition(":")
    if kind not in _KINDS:
        raise OysterError(f"unknown source '{name}'; sources are reef, ale:GAME, vizdoom:SCENARIO, video:GLOB")
    module, extra = _KINDS[kind]
    try:
        make = importlib.import_module(module).make
    except ModuleNotFoundError as e:
        if e.name and e.name.startswith("oyster_jax"):
            raise
        raise OysterError(f"source '{kind}' needs {e.name}: pip install 'oyster_jax[{extra}]'") from None
    return make(argument, options)

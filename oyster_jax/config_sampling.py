"""How frames are drawn: frozen dataclasses, static in every compiled step."""

import math
from dataclasses import dataclass

from oyster_jax.errors import check, check_positive


@dataclass(frozen=True)
class Randomness:
    """How freely tokens are drawn: 0 and 0 is the likeliest frame."""

    temperature: float = 1.0
    confidence_noise: float = 1.0  # Gumbel noise on the ranking, annealed to 0 (MaskGIT's choice temperature)

    def __post_init__(self):
        for name in ("temperature", "confidence_noise"):
            value = getattr(self, name)
            check(0 <= value < math.inf, f"{name} must be a number from 0 on, got {value}")


@dataclass(frozen=True)
class Guidance:
    """How far logits are moved from those without a condition: logits + w * (logits - logits without). 0: not at all,
    and at no cost."""

    action: float = 0.0
    prompt: float = 0.0

    def __post_init__(self):
        check(math.isfinite(self.action) and math.isfinite(self.prompt), f"guidance must be finite, got {self}")


@dataclass(frozen=True)
class Opening:
    """How a first frame is drawn. Nothing of it is certain yet, so it is drawn as MaskGIT draws pictures, few tokens at
    first, in as many steps for the picture as for the sound."""

    steps: int = 8
    randomness: Randomness = Randomness()
    guidance: Guidance = Guidance()

    def __post_init__(self):
        check_positive(self, "steps")


@dataclass(frozen=True)
class SamplingConfig:
    """How a frame is unmasked; static and hashable."""

    video_steps: int = 8
    audio_steps: int = 4
    schedule: str = "geometric"  # or "cosine", "one_by_one": what each step reveals, see `mask_schedule`
    randomness: Randomness = Randomness()
    guidance: Guidance = Guidance()
    opening: Opening = Opening()

    def __post_init__(self):
        check(self.video_steps > 0 and self.audio_steps > 0, "MaskGIT needs at least one step for each modality")
        schedules = ("geometric", "cosine", "one_by_one")
        check(self.schedule in schedules, f"sampling.schedule must be one of {schedules}, got {self.schedule!r}")

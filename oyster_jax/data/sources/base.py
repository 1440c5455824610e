"""What a source of clips is: something that plays episodes and obeys the time convention.

Frame `t` is what is seen at the start of interval `t`; `audio[t]` is the sound of that whole interval; both depend on
actions up to `t-1` only. `action[t]` is chosen on seeing frame `t` and leads to frame `t+1`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from oyster_jax.config import ActionSpace, MediaSpec


@dataclass(frozen=True)
class RawClip:
    """Consecutive frames of one episode, as NumPy arrays. The next clip of the episode goes on where this one ends."""

    video: np.ndarray  # uint8 [T, H, W, 3]
    audio: np.ndarray  # float32 [T, S], in [-1, 1]
    action: np.ndarray  # int32 [T, A]; -1 where nothing is known
    prompts: tuple[str, ...] = ("",)  # captions; "" where there is none
    prompt_id: np.ndarray | None = None  # int32 [T], index into prompts; None: all 0
    truth: dict[str, np.ndarray] = field(default_factory=dict)  # what the simulator knows, [T, ...] each


class Source(Protocol):
    """A recorder's input. `episodes` is None where a source never runs out."""

    name: str
    media: MediaSpec
    actions: ActionSpace
    episodes: int | None
    recipe: str  # what else shapes the clips: who plays, which files; a recording of another one is not continued

    def episode(self, index: int, clip_frames: int) -> Iterator[RawClip]:
        """Plays episode `index`, yielding clips of at most `clip_frames` frames.

        The same source, seed and index give the same clips: that is what makes recording resumable.
        Raises OysterError for what a user can mend (a file that is not a video, an unknown game).
        """
        ...

    def notes(self) -> list[str]:
        """One-line remarks for the user and for dataset.json, such as "a.mp4 has no sound track"."""
        ...


@dataclass(frozen=True)
class SourceOptions:
    """What `oyster record` lets a user choose; None leaves a source its own default."""

    seed: int = 0
    fps: str | None = None
    size: int | None = None
    sample_rate: int | None = None
    policy: str | None = None
    random_share: float | None = None  # see `chance`

    @property
    def chance(self) -> float:
        """Where a policy plays, how much of the play is random instead, sticky actions: of games a share of frames, of
        the reef a share of the wanderer's moods. 1 is the policy `random`."""
        return 1.0 if self.policy == "random" else 0.3 if self.random_share is None else self.random_share

    @property
    def player(self) -> str:
        """The players as a `recipe`."""
        return f"policy {self.policy or 'own'}, random_share {self.chance}"

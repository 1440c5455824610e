"""Who plays the Atari games that have a ball: a tracker that reads the console's memory, and sticky random actions."""

from dataclasses import dataclass

import numpy as np

EMULATOR_FRAMES = 4  # a step


class Player:
    """Takes turns between a tracker and sticky random actions, so that at least `share` of all frames are random.

    Each turn of random play pays for the tracker's turn that follows it.
    """

    def __init__(self, field: "Field | None", actions: int, share: float):
        self._tracker = _Tracker(field) if field and share < 1 else None
        self._actions, self._share = actions, share
        self._random_left = self._tracked_left = 0  # of the present turns
        self._held = self._hold = 0

    def __call__(self, ram: np.ndarray, playing: int, rng: np.random.Generator) -> int:
        """The action chosen on seeing `ram` uint8 [128] while the action `playing` goes on."""
        if self._tracker is None:
            return self._sticky(rng)
        wanted = self._tracker(ram, playing, rng)  # it watches in random turns too, to know where the ball goes
        if self._random_left + self._tracked_left == 0 and self._share:
            self._random_left = int(rng.integers(8, 60))
            self._tracked_left = int(self._random_left * (1 / self._share - 1))
        if self._random_left:
            self._random_left -= 1
            return self._sticky(rng)
        self._tracked_left = max(0, self._tracked_left - 1)
        return wanted

    def _sticky(self, rng: np.random.Generator) -> int:
        """Holds an action for 1 to 8 frames, as a thumb does."""
        if self._hold == 0:
            self._held, self._hold = int(rng.integers(self._actions)), int(rng.integers(1, 9))
        self._hold -= 1
        return self._held


@dataclass(frozen=True)
class Field:
    """Where a game keeps its ball and its paddle in RAM, and the geometry of the field in those units."""

    along: int  # address of the ball's way towards the paddle
    across: int
    line: int  # `along` where the ball meets the paddle
    walls: tuple[int, int]  # `across` where the ball bounces
    knob: int  # address of the turning knob as the game reads it: ahead of the paddle, and free to turn too far
    turn: int  # 1 or -1: which way the paddle goes when the knob's number grows
    rest: float  # where the paddle comes to rest when the knob stands at 0
    coast: int  # how far a press goes on from its first emulator frame to its last, and after
    ends: tuple[int, int]  # the paddle's reach
    middle: float  # paddle minus ball when the ball hits the paddle's middle
    more: int  # the action that raises the paddle's number
    less: int
    serve: int  # the action while no ball is in play


FIELDS = {
    "ale:breakout": Field(101, 99, 179, (55, 201), 70, -1, 235, 17, (55, 191), -8, more=2, less=3, serve=1),
    "ale:pong": Field(49, 54, 192, (44, 207), 60, 1, 0, 24, (38, 203), -5.5, more=3, less=2, serve=0),
}


class _Tracker:
    """Meets the ball where it will cross the paddle's line, each time with another part of the paddle.

    A step moves the paddle by more than its width, so where no rest position reaches the ball, the last step sweeps
    the paddle under it.
    """

    MOVED = (0, 0, 3, 8, 12, 17, 20, 21, 22)  # by one pressed step, emulator frames after its beginning

    def __init__(self, field: Field):
        self._field = field
        self._ball, self._aim = (0, 0), 0.0

    def __call__(self, ram: np.ndarray, playing: int, rng: np.random.Generator) -> int:
        """The action for the next step, seeing `ram` after the first emulator frame of the present one, `playing`."""
        c = self._field
        ball = int(ram[c.along]), int(ram[c.across])
        along, across = ((new - old) / EMULATOR_FRAMES for new, old in zip(ball, self._ball))
        self._ball = ball
        if ball[0] == 0 or along <= 0:
            self._aim = rng.uniform(-6, 6)
        if ball[0] == 0:
            return c.serve
        target, frames = ball[1], 99.0
        if along > 0 and ball[0] < c.line:
            frames = (c.line - ball[0]) / along
            target = _bounce(ball[1] + across * frames, c.walls)
        rest = c.rest + c.turn * int(ram[c.knob]) + c.coast * {c.more: 1, c.less: -1}.get(playing, 0)
        error = np.clip(target + c.middle + self._aim, *c.ends) - rest
        moved = np.interp(frames - (EMULATOR_FRAMES - 1), range(len(self.MOVED)), self.MOVED)
        return min((abs(error), 0), (abs(error - moved) + 1, c.more), (abs(error + moved) + 1, c.less))[1]


def _bounce(x: float, walls: tuple[int, int]) -> float:
    """Folds a straight path back between two walls."""
    low, width = walls[0], walls[1] - walls[0]
    x = (x - low) % (2 * width)
    return low + min(x, 2 * width - x)

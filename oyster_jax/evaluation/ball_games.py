"""Ball games: ball and paddles are tracked over a still court. Do they persist, and does it sound when the ball is hit,
which is where its way turns?

Nothing is trained and nothing is read from the game. Where the ball was between two frames, 67 ms apart, is told by the
straight lines before and after a hit: it happened where they meet.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from oyster_jax.evaluation.sync import Onsets

SEEN = 40  # by how much a ball's pixels differ from the empty court, of 255
NEAR = 3  # pixels, of 64, from its true place: a thing is in its place
HIDDEN = 12  # frames that a ball may be out of sight between two ways that belong together
LEG = 4  # frames of a straight way, or more
LOUD = 0.02  # root mean square of a sound, of 1


class Region(NamedTuple):
    """Where nothing but one thing is to be seen, in shares of a frame's height and width."""

    rows: tuple[float, float]
    columns: tuple[float, float]
    largest: float  # pixels, of 64: what is wider or higher is something else


# By the source of a data folder. Between bricks and paddle; between the paddles. A moving paddle is smeared.
COURTS = {
    "ale:breakout": {
        "ball": Region((0.48, 0.86), (0.06, 0.94), 8),
        "paddle": Region((0.89, 0.92), (0.05, 0.95), 12),
    },
    "ale:pong": {
        "ball": Region((0.17, 0.92), (0.14, 0.86), 8),
        "opponent": Region((0.17, 0.92), (0.09, 0.13), 12),
        "paddle": Region((0.17, 0.92), (0.87, 0.91), 12),
    },
}


def track(video: np.ndarray, background: np.ndarray, region: Region) -> np.ndarray:
    """The centre (row, column) of what is in the region in each of frames uint8 [T, H, W, 3], float [T, 2]; nan where
    nothing is seen.

    background: [H, W, 3], the empty court.
    """
    height, width = video.shape[1:3]
    (top, bottom), (left, right) = ([round(x * n) for x in span] for span, n in zip(region[:2], (height, width)))
    shown = np.abs(video.astype(np.float32) - background)[:, top:bottom, left:right].max(-1)
    weight = np.where(shown > SEEN, shown, 0)
    total = weight.sum((1, 2))
    found = np.full((len(video), 2), np.nan)
    for axis, (first, size) in enumerate(((top, height), (left, width))):
        along = weight.sum(2 - axis)  # [T, rows or columns]
        places = np.arange(along.shape[1])
        used = along > 0
        extent = used.shape[1] - used[:, ::-1].argmax(1) - used.argmax(1)
        one = (total > 0) & (extent <= region.largest * size / 64)
        found[:, axis] = np.where(one, (along * places).sum(1) / np.maximum(total, 1) + first, np.nan)
    return np.where(np.isnan(found).any(1, keepdims=True), np.nan, found)


def persistence(
    films: list[tuple[np.ndarray, np.ndarray]], background: np.ndarray, court: dict[str, Region], fps: float
) -> dict[str, dict]:
    """How long the things of a court last in films (truth, made), uint8 [T, H, W, 3] each, of the same time.

    Of each thing, lists by the second: `there`, the share of frames that show it in truth; `seen`, in what was made;
    `in_place`, of the frames that show it in truth, those that were made with it NEAR its place, 0 in a second in which
    none shows it. And `error_px`, the median distance where both are seen, of 64.
    """
    seconds = np.concatenate([np.arange(len(truth)) / fps for truth, _ in films]).astype(int)
    told, always = {}, np.ones(len(seconds), bool)
    for name, region in court.items():
        true, made = (
            np.concatenate([track(film, background, region) for film in which]) for which in zip(*films, strict=True)
        )
        there, seen = (~np.isnan(way[:, 0]) for way in (true, made))
        error = np.linalg.norm(made - true, axis=1) * 64 / background.shape[0]
        by_second = lambda hit, of: (np.bincount(seconds, hit & of) / np.maximum(np.bincount(seconds, of), 1)).tolist()
        told[name] = {
            "there": by_second(there, always),
            "seen": by_second(seen, always),
            "in_place": by_second(error <= NEAR, there),  # nan is not
            "error_px": float(np.median(error[there & seen])) if (there & seen).any() else float("nan"),
        }
    return told


def hits(way: np.ndarray) -> np.ndarray:
    """The times, in frames, at which a ball on its way float [T, 2] turns along either axis, in order; in a corner,
    where it turns along both within a frame, once."""
    times = []
    for axis in range(2):
        legs = _legs(way[:, axis])
        for before, after in pairwise(legs):
            if after[0] - before[-1] <= HIDDEN:
                # The frames next to a hit do not count: it may lie before the last one or after the first.
                (a, b), (c, d) = (np.polyfit(leg, way[leg, axis], 1) for leg in (before[-LEG:-1], after[1:LEG]))
                if a * c < 0:
                    times.append(np.clip((d - b) / (a - c), before[-2], after[1]))
    times = np.sort(times)
    return times[np.diff(times, prepend=-np.inf) > 1]


def _legs(place: np.ndarray) -> list[np.ndarray]:
    """The runs of frames over which a ball is seen and goes one way, each LEG frames or more, int [n] each."""
    step = np.sign(np.round(np.diff(place), 1))  # nan where the ball is not seen in both
    legs, begin = [], 0
    for t in range(1, len(step) + 1):
        if t == len(step) or step[t] != step[begin]:
            if t - begin >= LEG - 1 and step[begin] in (-1, 1):
                legs.append(np.arange(begin, t + 1))
            begin = t
    return legs


def seen_hits(video: np.ndarray, background: np.ndarray, court: dict[str, Region], fps: float) -> Onsets:
    """When the ball in frames uint8 [T, H, W, 3] is hit."""
    times = hits(track(video, background, court["ball"]))
    return Onsets(np.zeros(len(times), int), times * 1000.0 / fps)


def heard_hits(audio: np.ndarray, rate: float) -> Onsets:
    """When sounds begin in float [T, S] of so many samples a second: what gets loud, from a third or less of that, to
    the sixteenth of a frame."""
    hop = audio.shape[1] // 16
    loudness = np.sqrt(np.mean(audio.reshape(-1, hop) ** 2, axis=1))
    before = np.concatenate([[0, 0], loudness])
    quiet = np.maximum(before[:-2], before[1:-1]) < loudness / 3  # and has been for two hops
    begins = np.flatnonzero((loudness > LOUD) & quiet)
    apart = np.diff(begins, prepend=-16) > 8  # half a frame: one sound begins once
    times = begins[apart] * hop * 1000.0 / rate
    return Onsets(np.zeros(len(times), int), times)

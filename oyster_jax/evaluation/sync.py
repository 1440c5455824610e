"""Do the reef's sounds begin when what makes them is seen? A thud where the swimmer begins to squint, a chime where it
begins to glow, a call where it begins to sing.

What is seen is found by the simulator's drawings, what is heard by its recordings. A frame is shown for 67 ms, and the
reef's looks change with a frame: what a frame shows is seen from its first instant on.
"""

from typing import NamedTuple

import numpy as np

from oyster_jax.evaluation import reef_sight
from oyster_jax.evaluation.reef_hearing import listen
from oyster_jax.sims.reef_map import MEDIA

APART = 200.0  # ms, further apart than this two things have nothing to do with each other


class Onsets(NamedTuple):
    """Things that begin, in the order of time, [n] each."""

    kind: np.ndarray  # int, an index into SOUNDS
    ms: np.ndarray  # float, since the first frame was shown


def seen_onsets(video: np.ndarray) -> Onsets:
    """Where the swimmer begins to squint, to glow or to sing, in frames uint8 [T, 64, 64, 3].

    Only between two frames that both show the swimmer: where it was not seen, nobody knows when its face changed.
    """
    body = reef_sight.find(video, reef_sight.swimmer(), reef_sight.scenery(video)[:, 0])
    face = np.array(reef_sight.FACES, bool)[body.look]
    begins = face[1:] & ~face[:-1] & (body.seen[1:] & body.seen[:-1])[:, None]
    frames, kind = np.nonzero(begins)  # a face tells of sounds in the order of SOUNDS
    return Onsets(kind, (1 + frames) * 1000.0 / float(MEDIA.fps))


def heard_onsets(audio: np.ndarray) -> Onsets:
    """Where thuds, chimes and calls begin in sound float [T, S]."""
    heard = listen(audio)
    order = np.argsort(heard.sample, kind="stable")
    return Onsets(heard.kind[order], heard.sample[order] * 1000.0 / MEDIA.sample_rate)


def pair(seen: Onsets, heard: Onsets) -> list[tuple[int, int]]:
    """Indices of what was seen and heard of the same events: the nearest of a kind first, each but once."""
    apart = np.abs(seen.ms[:, None] - heard.ms[None])
    apart = np.where(seen.kind[:, None] == heard.kind[None], apart, np.inf)
    pairs = []
    while apart.size and apart.min() <= APART:
        i, j = np.unravel_index(apart.argmin(), apart.shape)
        pairs.append((int(i), int(j)))
        apart[i], apart[:, j] = np.inf, np.inf
    return pairs


def sync(video: np.ndarray, audio: np.ndarray) -> dict:
    """The report of worlds of the reef [B, T, ...], see `compare`."""
    return compare([seen_onsets(frames) for frames in video], [heard_onsets(sound) for sound in audio])


def compare(seen: list[Onsets], heard: list[Onsets]) -> dict:
    """Of several films, the offsets of sounds from what is seen of them, in ms. Events are matched one to one within a
    tolerance, as onsets of music are (Böck et al. 2012).

    seen, heard, both: how many events. heard_of_seen: the share of visible events that sound. seen_of_heard: the share
      of sounds whose cause is seen. median, p95: of the absolute offsets of those both seen and heard. late: the median
      of the offsets, above 0 where sound comes after sight.
    """
    offsets = [there.ms[j] - here.ms[i] for here, there in zip(seen, heard) for i, j in pair(here, there)]
    seen_count, heard_count = (sum(len(one.ms) for one in onsets) for onsets in (seen, heard))
    size = np.abs(offsets)
    measure = lambda f, x: float(f(x)) if len(offsets) else float("nan")
    return {
        "seen": seen_count,
        "heard": heard_count,
        "both": len(offsets),
        "heard_of_seen": len(offsets) / seen_count if seen_count else float("nan"),
        "seen_of_heard": len(offsets) / heard_count if heard_count else float("nan"),
        "median_ms": measure(np.median, size),
        "p95_ms": measure(lambda x: np.percentile(x, 95), size),
        "late_ms": measure(np.median, offsets),
    }

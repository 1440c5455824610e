"""What can be heard in the reef's sound: thuds, chimes and calls, and at which sample they begin.

Nothing is trained. Struck sounds are found by the simulator's own recordings, slid over the sound; calls by how loud
each note is: the notes are multiples of the frame rate, so that over a frame's length each is blind to all others.
"""

from typing import NamedTuple

import numpy as np
from scipy.signal import correlate, find_peaks

from oyster_jax.sims import reef_sound
from oyster_jax.sims.reef_map import MEDIA, SAMPLES

SOUNDS = ("thud", "chime", "call")
_SLOT = 1536  # samples of a recording that are listened for, a tenth of a second


class Heard(NamedTuple):
    """Sounds in the order of their kinds, [n] each."""

    kind: np.ndarray  # int, an index into SOUNDS
    sample: np.ndarray  # int, at which it begins


def listen(audio: np.ndarray) -> Heard:
    """What begins in sound float [T, S]."""
    wave = audio.reshape(-1).astype(np.float64)
    begins = [*(_struck(wave, recording) for recording in reef_sound.RECORDINGS[:2]), _calls(wave)]
    return Heard(np.repeat(np.arange(len(SOUNDS)), [len(x) for x in begins]), np.concatenate(begins).astype(int))


def _struck(wave: np.ndarray, recording: np.ndarray) -> np.ndarray:
    """Where the recording fits with half its loudness or more, and best within its first tenth of a second."""
    shape = recording[:_SLOT].astype(np.float64)
    loudness = correlate(np.pad(wave, (_SLOT, _SLOT)), shape, "valid") / (shape @ shape)
    return find_peaks(loudness, height=0.5, distance=_SLOT)[0] - _SLOT


def _calls(wave: np.ndarray) -> np.ndarray:
    """Where a note rises through half its loudness, having been softer than a third since it last did."""
    n = np.arange(len(wave))
    begins = []
    for hz in reef_sound.PITCHES:
        turned = np.concatenate([[0], np.cumsum(wave * np.exp(-2j * np.pi * hz / MEDIA.sample_rate * n))])
        turned = np.pad(turned, (SAMPLES, SAMPLES), mode="edge")
        loudness = 2 / SAMPLES * np.abs(turned[SAMPLES:] - turned[:-SAMPLES])  # of the SAMPLES before each sample
        # Of what is clearly loud or clearly soft, each loud sample that follows a soft one.
        clear = np.flatnonzero((loudness > reef_sound.LOUDEST / 2) | (loudness < reef_sound.LOUDEST / 3))
        loud = loudness[clear] > reef_sound.LOUDEST / 2
        begins.append(clear[1:][loud[1:] & ~loud[:-1]] - SAMPLES // 2)
    return np.sort(np.concatenate(begins))

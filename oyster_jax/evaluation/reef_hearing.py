"""What can be heard in the reef's sound: thuds, chimes and calls, and at which sample they begin; hour and weather.

Nothing is trained. Struck sounds are found by the simulator's own recordings, slid over the sound; calls by how loud
each note is: the notes are multiples of the frame rate, so that over a frame's length each is blind to all others.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.ndimage import percentile_filter
from scipy.signal import correlate, find_peaks

from oyster_jax.sims import reef_sound
from oyster_jax.sims.reef_map import MEDIA, SAMPLES

SOUNDS = ("thud", "chime", "call")
_SLOT = 1536  # samples of a recording that are listened for, a tenth of a second

AROUND = 16  # frames that tell hour and weather: two breaths of the crickets
# Of each bed the Hz at which it is told, and below which share of AROUND frames' loudness it is taken: drums and thuds
# ring through swell and dusk, but not all the time, and crickets pause.
_BEDS = {
    "swell": ((105, 165), 25),
    "dusk": ((180, 270), 25),
    "crickets": ((2970, 3000, 3030), 50),
    "rain": (tuple(range(5010, 7500, 15)), 25),
}


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


def ambience(audio: np.ndarray) -> np.ndarray:
    """Hour and weather by the sound float [T, S] of AROUND frames around each, int [T, 2], indices into the first
    fields of SCENES.

    The loudest bed, in parts of what it has in the simulator, tells the hour, -1 if none has a quarter of that; it
    rains where the rain has half of its loudness.
    """
    *hours, rain = (_loudness(audio, bed) / np.mean(_loudness(_bed(bed), bed)) for bed in _BEDS)
    hour = np.where(np.max(hours, 0) > 0.25, np.argmax(hours, 0), -1)
    return np.stack([hour, rain > 0.5], -1)


def _loudness(audio: np.ndarray, bed: str) -> np.ndarray:
    """How loud a bed is around each frame of sound float [T, S], [T]; its tones are multiples of the frame rate."""
    tones, share = _BEDS[bed]
    spectrum = np.abs(np.fft.rfft(audio.astype(np.float64), axis=1))
    loud = np.linalg.norm(spectrum[:, np.array(tones) // round(MEDIA.fps)], axis=1)
    return percentile_filter(loud, share, size=AROUND, mode="nearest")


@cache
def _bed(bed: str) -> np.ndarray:
    """A bed by itself through the longest of breaths, float [64, S]."""
    level = (np.array(reef_sound.HELD) == bed).astype(np.float32)
    silent = np.full(len(reef_sound.STRUCK), reef_sound.SILENT, np.int32)
    return np.stack([reef_sound.sound(level, level, silent, clock, clock) for clock in range(64)])

"""The reef's sound. Two kinds of voices, both exact to the sample and without clicks at frame borders:

- *struck* sounds (thud, chime) are short recordings; the state holds how many samples ago each was struck;
- *held* sounds (the three calls, the ambience) are endless waves whose loudness glides towards a target; the state
  holds the loudness. Their pitches are multiples of 15 Hz, so every frame begins at phase 0 and nothing accumulates.
"""

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.sims.reef_map import MEDIA, SAMPLES

STRUCK = ("thud", "chime")
HELD = ("call low", "call middle", "call high", "swell", "dusk", "crickets", "rain")
CALL_PITCHES = (330, 495, 660)  # Hz
CALLS = len(CALL_PITCHES)

THUD_FRAMES, CHIME_FRAMES = 3, 8  # how long they ring; the world never strikes one again while it rings
SILENT = CHIME_FRAMES * SAMPLES  # an age at which every struck sound is over

_RATE = MEDIA.sample_rate
_N = np.arange(SAMPLES)
_ATTACK, _RELEASE = 24.0, 2000.0  # samples


def _struck(frames: int, peak: float, wave) -> np.ndarray:
    """`wave(seconds)` with a 1 ms attack and a soft end, then silence, f32[SILENT + 1]."""
    seconds = np.arange(1, frames * SAMPLES + 1) / _RATE
    sound = wave(seconds) * np.minimum(seconds * 1000, 1) * (1 - seconds / seconds[-1]) ** 2
    return np.pad(sound * peak / np.abs(sound).max(), (0, SILENT + 1 - len(sound))).astype(np.float32)


def _thud(t):
    sweep = 2 * np.pi * (80 * t + 90 * 0.02 * (1 - np.exp(-t / 0.02)))  # from 170 Hz down to 80 Hz
    return np.sin(sweep) * np.exp(-t / 0.07) + 0.5 * np.sin(2 * np.pi * 310 * t) * np.exp(-t / 0.03)


def _chime(t):
    partials = ((1320, 1.0, 0.18), (1980, 0.6, 0.12), (2640, 0.3, 0.09), (3975, 0.15, 0.05))
    return sum(gain * np.sin(2 * np.pi * hz * t) * np.exp(-t / decay) for hz, gain, decay in partials)


# Peaks add up to less than 1 with the ambience on top: nothing ever clips.
_RECORDINGS = np.stack([_struck(THUD_FRAMES, 0.35, _thud), _struck(CHIME_FRAMES, 0.28, _chime)])


def _tone(*partials: tuple[float, float]) -> np.ndarray:
    """A sum of sines (Hz, gain) over one frame, f32[S]."""
    return sum(gain * np.sin(2 * np.pi * hz * _N / _RATE) for hz, gain in partials).astype(np.float32)


_CALL = np.stack([_tone((hz, 0.22), (2 * hz, 0.06), (3 * hz, 0.02)) for hz in CALL_PITCHES])
_SWELL = _tone((105, 0.02), (165, 0.012))
_DUSK = _tone((180, 0.014), (270, 0.010), (450, 0.006))
_CRICKETS = _tone((3000, 0.045)) * (0.5 - 0.5 * np.cos(2 * np.pi * 30 * _N / _RATE)).astype(np.float32)
_RAIN = 0.04

_RISE = np.exp(-(_N + 1) / _ATTACK).astype(np.float32)
_FALL = np.exp(-(_N + 1) / _RELEASE).astype(np.float32)


def _held_waves(clock, key) -> jax.Array:
    """The held sounds at full loudness during frame `clock`, f32[7,S]."""

    def breath(frames):  # 0 to 1 and back in so many frames
        return 0.5 - 0.5 * jnp.cos(2 * jnp.pi / frames * ((clock % frames) + _N / SAMPLES))

    noise = jax.random.uniform(jax.random.fold_in(key, clock), (SAMPLES,), minval=-_RAIN, maxval=_RAIN)
    rain = (noise + jnp.roll(noise, 1)) * 0.6  # softened a little
    bed = jnp.stack([_SWELL * (0.4 + 0.6 * breath(64)), _DUSK * (0.4 + 0.6 * breath(32)), _CRICKETS * breath(8), rain])
    return jnp.concatenate([_CALL, bed]).astype(jnp.float32)


def glide(level, target) -> jax.Array:
    """Loudness of held sounds over one frame, [7] → f32[7,S]; the last sample is the next frame's `level`."""
    # Calls rise fast, everything else glides slowly; a call that falls silent lingers.
    fast = (jnp.arange(len(HELD)) < CALLS) & (target > level)
    return target[:, None] + (level - target)[:, None] * jnp.where(fast[:, None], _RISE, _FALL)


def sound(level, target, age, onset, clock, key) -> jax.Array:
    """The samples of one frame, f32[S].

    level, target: f32[7], loudness of each held sound at the start of the frame, and what it glides towards;
    age: i32[2], samples since each struck sound began, at the start of the frame;
    onset: i32[2], the sample of this frame at which it is struck, or -1; clock: i32, frame counter; key: for the rain.
    """
    held = jnp.sum(glide(level, target) * _held_waves(clock, key), axis=0)
    anew = (onset >= 0)[:, None] & (onset[:, None] <= _N)
    ages = jnp.where(anew, _N - onset[:, None], jnp.minimum(age[:, None] + _N, SILENT))
    struck = jnp.take_along_axis(jnp.asarray(_RECORDINGS), ages, axis=1)
    return held + jnp.sum(struck, axis=0)


def aged(age, onset) -> jax.Array:
    """Samples since each struck sound began, i32[2], one frame later."""
    return jnp.where(onset >= 0, SAMPLES - onset, jnp.minimum(age + SAMPLES, SILENT))

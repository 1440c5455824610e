"""The reef's sound. Two kinds of voices, both exact to the sample and without clicks at frame borders:

- *struck* sounds (thud, chime, four drums) are short recordings; the state holds how many samples ago each was struck;
- *held* sounds (twelve notes, the ambience) are endless waves whose loudness glides towards a target; the state holds
  the loudness. Notes are multiples of 15 Hz, so every frame begins at phase 0 and nothing accumulates.

Everything begins with a frame, whose picture shows why: the eye that squints, the skin that glows, the ring of song.
"""

import jax
import jax.numpy as jnp
import numpy as np

from oyster_jax.sims.reef_map import MEDIA, SAMPLES

STRUCK = ("thud", "chime", "kick", "tom", "clap", "rattle")
NOTES = ("A", "A#", "B", "C", "C#", "D", "D#", "E", "F", "F#", "G", "G#")
PITCHES = (450, 480, 510, 540, 570, 600, 630, 675, 720, 750, 795, 855)  # Hz, within 15 cents of equal temperament
BEDS = ("swell", "dusk", "crickets", "rain")
HELD = (*NOTES, *BEDS)

THUD_FRAMES, CHIME_FRAMES, DRUM_FRAMES = 2, 8, 3  # how long they ring; none is struck again while it rings
SILENT = CHIME_FRAMES * SAMPLES  # an age at which every struck sound is over
LOOP = 8  # frames after which the rain's hiss comes again

_RATE = MEDIA.sample_rate
_N = np.arange(SAMPLES)
_ATTACK, _RELEASE = 24.0, 2000.0  # samples


def _struck(frames: int, peak: float, wave) -> np.ndarray:
    """`wave(seconds)` with a 1 ms attack and a soft end, then silence, f32[SILENT + 1]."""
    seconds = np.arange(1, frames * SAMPLES + 1) / _RATE
    sound = wave(seconds) * np.minimum(seconds * 1000, 1) * (1 - seconds / seconds[-1]) ** 2
    return np.pad(sound * peak / np.abs(sound).max(), (0, SILENT + 1 - len(sound))).astype(np.float32)


def _falling(t, high, low, glide):
    """A sine that falls from `high` to `low` Hz."""
    return np.sin(2 * np.pi * (low * t + (high - low) * glide * (1 - np.exp(-t / glide))))


def _thud(t):
    return _falling(t, 170, 80, 0.02) * np.exp(-t / 0.07) + 0.5 * np.sin(2 * np.pi * 310 * t) * np.exp(-t / 0.03)


def _chime(t):
    partials = ((1320, 1.0, 0.18), (1980, 0.6, 0.12), (2640, 0.3, 0.09), (3975, 0.15, 0.05))
    return sum(gain * np.sin(2 * np.pi * hz * t) * np.exp(-t / decay) for hz, gain, decay in partials)


def _hiss(t, seed):
    return np.random.default_rng(seed).uniform(-1, 1, len(t))


# Peaks add up to less than 1 with a note and the ambience on top: nothing ever clips.
RECORDINGS = np.stack(
    [
        _struck(THUD_FRAMES, 0.24, _thud),
        _struck(CHIME_FRAMES, 0.2, _chime),
        _struck(DRUM_FRAMES, 0.22, lambda t: _falling(t, 110, 50, 0.03) * np.exp(-t / 0.1)),
        _struck(DRUM_FRAMES, 0.2, lambda t: _falling(t, 260, 200, 0.05) * np.exp(-t / 0.08)),
        _struck(DRUM_FRAMES, 0.2, lambda t: _hiss(t, 1) * np.exp(-t / 0.03)),
        _struck(DRUM_FRAMES, 0.2, lambda t: np.sin(2 * np.pi * 2250 * t) * np.sin(2 * np.pi * 30 * t) ** 2),
    ]
)


def _tone(*partials: tuple[float, float]) -> np.ndarray:
    """A sum of sines (Hz, gain) over one frame, f32[S]."""
    return sum(gain * np.sin(2 * np.pi * hz * _N / _RATE) for hz, gain in partials).astype(np.float32)


def _rain() -> np.ndarray:
    """A hiss that comes again after LOOP frames, f32[LOOP,S]."""
    noise = np.random.default_rng(0).uniform(-0.04, 0.04, LOOP * SAMPLES)
    return ((noise + np.roll(noise, 1)) * 0.6).reshape(LOOP, SAMPLES).astype(np.float32)  # softened a little


LOUDEST = 0.14  # amplitude of a note's lowest partial, once it has risen
_SONG = np.stack([_tone((hz, LOUDEST), (2 * hz, 0.04), (3 * hz, 0.015)) for hz in PITCHES])
_SWELL = _tone((105, 0.02), (165, 0.012))
_DUSK = _tone((180, 0.014), (270, 0.010), (450, 0.006))
_CRICKETS = _tone((3000, 0.065)) * (0.5 - 0.5 * np.cos(2 * np.pi * 30 * _N / _RATE)).astype(np.float32)
_RAIN = _rain()

_RISE = np.exp(-(_N + 1) / _ATTACK).astype(np.float32)
_FALL = np.exp(-(_N + 1) / _RELEASE).astype(np.float32)


def _held_waves(clock, rained) -> jax.Array:
    """The held sounds at full loudness during frame `clock`, f32[16,S]; the rain has its own count of frames."""

    def breath(frames):  # 0 to 1 and back in so many frames
        return 0.5 - 0.5 * jnp.cos(2 * jnp.pi / frames * ((clock % frames) + _N / SAMPLES))

    rain = jnp.asarray(_RAIN)[rained % LOOP]
    bed = jnp.stack([_SWELL * (0.4 + 0.6 * breath(64)), _DUSK * (0.4 + 0.6 * breath(32)), _CRICKETS * breath(8), rain])
    return jnp.concatenate([_SONG, bed]).astype(jnp.float32)


def glide(level, target) -> jax.Array:
    """Loudness of held sounds over one frame, [16] → f32[16,S]; the last sample is the next frame's `level`."""
    # Notes rise fast, everything else glides slowly; a note that falls silent lingers.
    fast = (jnp.arange(len(HELD)) < len(NOTES)) & (target > level)
    return target[:, None] + (level - target)[:, None] * jnp.where(fast[:, None], _RISE, _FALL)


def sound(level, target, age, clock, rained) -> jax.Array:
    """The samples of one frame, f32[S].

    level, target: f32[16], loudness of each held sound at the start of the frame, and what it glides towards;
    age: i32[6], samples since each struck sound began, at the start of the frame; clock, rained: i32, frame
    counters.
    """
    held = jnp.sum(glide(level, target) * _held_waves(clock, rained), axis=0)
    ages = jnp.minimum(age[:, None] + _N, SILENT)
    struck = jnp.take_along_axis(jnp.asarray(RECORDINGS), ages, axis=1)
    return held + jnp.sum(struck, axis=0)

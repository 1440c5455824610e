"""The reef keeps its promises: exact onsets, no clicks, no off-by-one, the same bits for the same key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.errors import OysterError
from oyster_jax.sims import reef
from oyster_jax.sims.reef_map import BODY_FREE, FISH_FREE, MEDIA, PEARLS, SAMPLES

DAY = reef.Scene(0, 0, 0)
REST, EAST = 0, 1
FAST = 2
FRAMES = 24

_reset = jax.jit(reef.reset)
_step = jax.jit(reef.step)
_advance = jax.jit(reef.advance)
_observe = jax.jit(reef.observe)


@jax.jit
def _play(state, actions):
    """Frames after `state` under actions i32[T,4]: states and observations, [T, ...]."""

    def body(state, action):
        state = reef.advance(state, action)
        return state, state

    _, states = jax.lax.scan(body, state, actions)
    return states, jax.vmap(reef.observe)(states), jax.vmap(reef.events)(states)


def _at(body, pearl=(13, 51), **fields):
    """A bay by day with the swimmer at `body`, looking east."""
    state, _ = _reset(jax.random.key(3), DAY)
    place = int(np.flatnonzero(np.all(np.array(pearl) == PEARLS, axis=1))[0])
    return state._replace(body=jnp.array(body), facing=jnp.int32(EAST), pearl=jnp.int32(place), **fields)


def _actions(*runs):
    """i32[FRAMES,4] from (frames, (heading, speed, light, call)); the last run goes on to the end."""
    rows = [action for frames, action in runs for _ in range(frames)]
    return np.array(rows + [runs[-1][1]] * (FRAMES - len(rows)), np.int32)[:FRAMES]


def test_shapes_and_action_space():
    state, obs = _reset(jax.random.key(0), DAY)
    assert obs.video.shape == (MEDIA.height, MEDIA.width, 3) and obs.video.dtype == jnp.uint8
    assert obs.audio.shape == (MEDIA.samples_per_frame,) and obs.audio.dtype == jnp.float32
    after, _ = _step(state, jnp.array([EAST, FAST, 1, 2]))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    assert reef.ACTIONS.size == 216
    assert len(reef.MOVES) == reef.ACTIONS.sizes[reef.HEADING] and len(reef.PIXELS) == reef.ACTIONS.sizes[reef.SPEED]


def test_same_key_same_bits():
    actions = _actions((8, (2, 2, 1, 3)), (8, (6, 1, 0, 0)), (1, (7, 2, 1, 1)))
    rain = reef.Scene(0, 1, 0)
    one, again, other = (_play(_reset(jax.random.key(seed), rain)[0], actions) for seed in (1, 1, 2))
    assert jax.tree.all(jax.tree.map(np.array_equal, one, again))
    assert not np.array_equal(one[1].video, other[1].video) and not np.array_equal(one[1].audio, other[1].audio)


def test_vmap_is_single():
    states = [_reset(key, reef.Scene(1, 1, 2))[0] for key in jax.random.split(jax.random.key(1), 3)]
    actions = jnp.array([(2, 2, 1, 3), (6, 1, 0, 0), (0, 0, 1, 1)])
    many = jax.jit(jax.vmap(reef.step))(jax.tree.map(lambda *x: jnp.stack(x), *states), actions)
    for i, (state, action) in enumerate(zip(states, actions)):
        for a, b in zip(jax.tree.leaves(_step(state, action)), jax.tree.leaves(many)):
            np.testing.assert_allclose(np.asarray(a, float), np.asarray(b[i], float), atol=1 if a.ndim == 3 else 1e-6)


def test_step_is_advance_and_observe():
    state, _ = _reset(jax.random.key(2), DAY)
    action = jnp.array([4, 1, 1, 2])
    after, obs = _step(state, action)
    jax.tree.map(np.testing.assert_array_equal, after, _advance(state, action))
    np.testing.assert_array_equal(obs.video, _observe(after).video)
    kept = _advance(after, jnp.full(4, -1))
    np.testing.assert_array_equal(kept.controls, action)


# ---------------------------------------------------------------------------- sound


def _first_difference(a, b):
    return int(np.flatnonzero(np.abs(np.ravel(a) - np.ravel(b)) > 1e-6)[0])


@pytest.mark.parametrize("x, frame, sample", [(53, 0, 0), (52, 0, SAMPLES // 3), (50, 1, 0), (46, 2, SAMPLES // 3)])
def test_thud_sounds_at_the_sample_of_contact(x, frame, sample):
    """The shore stops the swimmer at x = 53; at 3 pixels a frame that is (53 - x) / 3 intervals from the start."""
    _, bump, events = _play(_at((x, 40)), _actions((1, (EAST, FAST, 0, 0))))
    _, calm, _ = _play(_at((x, 40)), _actions((1, (REST, FAST, 0, 0))))
    onsets = np.argwhere(events[:, 0] >= 0)
    assert onsets.tolist() == [[frame]] and events[frame, 0] == sample
    assert _first_difference(bump.audio, calm.audio) == frame * SAMPLES + sample
    thud = np.ravel(bump.audio - calm.audio)[frame * SAMPLES + sample :]
    assert 0.3 < np.abs(thud[:SAMPLES]).max() < 0.6 and np.abs(thud[4 * SAMPLES :]).max() < 1e-6


def test_chime_sounds_when_the_pearl_is_touched():
    """The pearl at (49, 47) is touched 8.5 pixels away; from x = 35 at 2 pixels a frame that takes 3 intervals."""
    start = _at((35, 47), (49, 47))
    states, swim, events = _play(start, _actions((1, (EAST, 1, 0, 0))))
    _, rest, _ = _play(start, _actions((1, (REST, 1, 0, 0))))
    assert np.flatnonzero(events[:, 1] >= 0)[0] == 3 and events[3, 1] == 0
    assert _first_difference(swim.audio, rest.audio) == 3 * SAMPLES
    assert states.pearl[3] == start.pearl and states.pearl[4] == start.pearl + 1


def test_call_sounds_from_sample_zero_at_its_pitch():
    calls = _actions((4, (REST, 0, 0, 0)), (6, (REST, 0, 0, 2)), (6, (REST, 0, 0, 3)), (1, (REST, 0, 0, 0)))
    _, called, events = _play(_at((32, 32)), calls)
    _, silent, _ = _play(_at((32, 32)), _actions((1, (REST, 0, 0, 0))))
    assert np.flatnonzero(events[:, 2] == 0).tolist() == [4, 10]
    assert _first_difference(called.audio, silent.audio) - 4 * SAMPLES in (0, 1)  # a sine's sample 0 is 0
    voice = np.asarray(called.audio - silent.audio)
    assert np.abs(voice[4, :64]).max() > 0.1
    for frame, hertz in ((6, 495), (13, 660)):
        spectrum = np.abs(np.fft.rfft(np.ravel(voice[frame : frame + 2])))
        assert np.argmax(spectrum) * MEDIA.sample_rate / (2 * SAMPLES) == hertz


def test_no_click_at_frame_borders():
    """Thud, chime and calls ring on over frame borders with no larger jump there than inside the frames."""
    runs = ((9, (EAST, 1, 0, 0)), (3, (EAST, 1, 0, 2)), (4, (EAST, 1, 0, 1)), (1, (EAST, 1, 0, 0)))
    _, obs, events = _play(_at((35, 47), (49, 47)), _actions(*runs))
    assert np.all(np.any(np.asarray(events) >= 0, axis=0))
    audio = np.asarray(obs.audio)
    inside = np.abs(np.diff(audio, axis=1)).max(axis=1)
    across = np.abs(audio[1:, 0] - audio[:-1, -1])
    assert np.all(across <= np.maximum(inside[1:], inside[:-1]))
    assert np.abs(audio).max() < 1


def test_the_sound_fades_when_the_scene_changes():
    night = reef.Scene(2, 0, 0)
    after, obs = _step(reef.set_scene(_at((32, 32)), night), jnp.zeros(4, jnp.int32))
    _, later = _step(after, jnp.zeros(4, jnp.int32))
    before = _observe(_at((32, 32)))
    audio = np.concatenate([before.audio, obs.audio, later.audio])
    border = np.abs(np.diff(audio))[[SAMPLES - 1, 2 * SAMPLES - 1]]
    assert border.max() < 0.01


# ---------------------------------------------------------------------------- alignment


def test_light_shows_at_once_and_motion_one_frame_later():
    change = 5
    start = _at((20, 20))
    rest = _actions((1, (REST, 1, 0, 0)))
    moved, lit = rest.copy(), rest.copy()
    moved[change:, reef.HEADING] = EAST
    lit[change:, reef.LIGHT] = 1
    (_, still, _), (states, swim, _), (_, lamp, _) = (_play(start, a) for a in (rest, moved, lit))
    first = lambda obs: np.flatnonzero(np.any(obs.video != still.video, axis=(1, 2, 3)))[0]
    assert first(lamp) == change  # index t holds the frame after action t, that is frame t+1 of the stream
    assert first(swim) == change + 1
    assert states.body[change].tolist() == [20, 20] and states.body[change + 1].tolist() == [22, 20]


def test_a_scene_shows_from_the_next_frame_on():
    state = _at((32, 32))
    rest = jnp.zeros(4, jnp.int32)
    asked = reef.set_scene(state, reef.Scene(2, 1, 1))
    np.testing.assert_array_equal(_observe(asked).video, _observe(state).video)
    np.testing.assert_array_equal(_observe(asked).audio, _observe(state).audio)
    after = _advance(asked, rest)
    assert tuple(map(int, after.scene)) == (2, 1, 1)
    assert np.mean(_observe(after).video) < 0.7 * np.mean(_observe(_advance(state, rest)).video)


def test_every_scene_has_its_own_caption_and_look():
    scenes = [reef.Scene(*i) for i in np.ndindex(*map(len, reef.SCENES))]
    assert len({reef.caption(s) for s in scenes}) == len(scenes) == 18
    assert reef.caption(reef.Scene(2, 1, 1)) == "a bay at night in the rain, green water"
    assert all(reef.scene_of(reef.caption(s)) == s for s in scenes)
    with pytest.raises(OysterError, match="no scene 'a desert'"):
        reef.scene_of("a desert")
    looks = [np.asarray(_observe(_at((32, 32), scene=reef.Scene(*map(jnp.int32, s)))).video, float) for s in scenes]
    apart = [np.abs(a - b).mean() for i, a in enumerate(looks) for b in looks[:i]]
    assert min(apart) > 3


# ---------------------------------------------------------------------------- geography


def test_every_pearl_can_be_reached_and_no_fish_is_trapped():
    assert all(BODY_FREE[y, x] for x, y in PEARLS)
    reached = np.zeros_like(BODY_FREE)
    reached[PEARLS[0, 1], PEARLS[0, 0]] = True
    for _ in range(200):
        for x, y in reef.MOVES:
            reached |= np.roll(reached, (y, x), (0, 1)) & BODY_FREE
    assert np.array_equal(reached, BODY_FREE)
    diagonals = [np.roll(FISH_FREE, (y, x), (0, 1)) for x in (-1, 1) for y in (-1, 1)]
    assert np.all(np.any(diagonals, axis=0)[FISH_FREE])

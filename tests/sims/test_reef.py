"""The reef keeps its promises: exact onsets, no clicks, no off-by-one, the same bits for the same key."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.sims import reef
from oyster_jax.sims.reef_draw import _SPLASHES
from oyster_jax.sims.reef_map import FREE, MEDIA, OFFSHORE, PEARL_OF, PEARLS, SAMPLES, SIZE, TILE, TILES
from oyster_jax.sims.reef_state import CHIME, FISH, JELLYFISH, TURTLE

DAY = reef.Scene(0, 0, 0, 0)
REST, EAST = 0, 1
FAST = 2
FRAMES = 24

_reset = jax.jit(reef.reset)
_step = jax.jit(reef.step)
_advance = jax.jit(reef.advance)
_observe = jax.jit(reef.observe)


@jax.jit
def _play(state, actions):
    """Frames after `state` under actions i32[T,5]: states and observations, [T, ...]."""

    def body(state, action):
        state = reef.advance(state, action)
        return state, state

    _, states = jax.lax.scan(body, state, actions)
    return states, jax.vmap(reef.observe)(states), jax.vmap(reef.events)(states)


def _at(body, creature=(12, 12), **fields):
    """A bay by day with the swimmer at `body`, looking east, a jellyfish far away, and all pearls ripe that can be."""
    state, _ = _reset(jax.random.key(3), DAY._replace(creature=JELLYFISH))
    fields = {"clock": jnp.int32(0), "rained": jnp.int32(0), "facing": jnp.int32(EAST)} | fields
    alone = np.all(np.any(PEARLS[:, None] != np.array([body, creature]), axis=2), axis=1)
    fields = {"pearls": jnp.where(alone, jnp.int32(reef.RIPE), 0)} | fields
    return state._replace(body=jnp.array(body), creature=jnp.array(creature), **fields)


def _actions(*runs):
    """i32[FRAMES,5] from (frames, (heading, speed, light, call[, drum])); the last run goes on to the end."""
    rows = [action for frames, action in runs for _ in range(frames)]
    rows = [(*action, 0)[:5] for action in rows + [runs[-1][1]] * (FRAMES - len(rows))]
    return np.array(rows, np.int32)[:FRAMES]


def test_shapes_and_action_space():
    state, obs = _reset(jax.random.key(0), DAY)
    assert obs.video.shape == (MEDIA.height, MEDIA.width, 3) and obs.video.dtype == jnp.uint8
    assert obs.audio.shape == (MEDIA.samples_per_frame,) and obs.audio.dtype == jnp.float32
    after, _ = _step(state, jnp.array([EAST, FAST, 1, 2, 3]))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)
    sizes = reef.ACTIONS.sizes
    assert len(reef.MOVES) == sizes[reef.HEADING] and len(reef.STROKES) == sizes[reef.SPEED]
    # A swimmer at rest has no speed: what can be told apart is less than the product of the factors.
    assert (8 * 3 + 1) * np.prod(sizes[2:]) == 13_000


def test_same_key_same_bits():
    actions = _actions((8, (2, 2, 1, 3)), (8, (6, 1, 0, 0)), (1, (7, 2, 1, 1)))
    rain = reef.Scene(0, 1, 0, 0)
    one, again, other = (_play(_reset(jax.random.key(seed), rain)[0], actions) for seed in (1, 1, 2))
    assert jax.tree.all(jax.tree.map(np.array_equal, one, again))
    assert not np.array_equal(one[1].video, other[1].video)


def test_vmap_is_single():
    states = [_reset(key, reef.Scene(1, 1, 2, 1))[0] for key in jax.random.split(jax.random.key(1), 3)]
    actions = jnp.array([(2, 2, 1, 3, 0), (6, 1, 0, 0, 1), (0, 0, 1, 1, 2)])
    many = jax.jit(jax.vmap(reef.step))(jax.tree.map(lambda *x: jnp.stack(x), *states), actions)
    for i, (state, action) in enumerate(zip(states, actions)):
        for a, b in zip(jax.tree.leaves(_step(state, action)), jax.tree.leaves(many)):
            np.testing.assert_allclose(np.asarray(a, float), np.asarray(b[i], float), atol=1 if a.ndim == 3 else 1e-6)


def test_step_is_advance_and_observe():
    state, _ = _reset(jax.random.key(2), DAY)
    action = jnp.array([4, 1, 1, 2, 1])
    after, obs = _step(state, action)
    jax.tree.map(np.testing.assert_array_equal, after, _advance(state, action))
    np.testing.assert_array_equal(obs.video, _observe(after).video)
    kept = _advance(after, jnp.full(5, -1))
    np.testing.assert_array_equal(kept.controls, action)


# ---------------------------------------------------------------------------- sound


def _first_difference(a, b):
    return int(np.flatnonzero(np.abs(np.ravel(a) - np.ravel(b)) > 1e-6)[0])


@pytest.mark.parametrize("x, frame", [(52, 0), (44, 1), (28, 3)])
def test_thud_sounds_with_the_frame_that_shows_contact(x, frame):
    """The shore stops the swimmer at x = 52, to which it moves by a tile a frame."""
    states, bump, events = _play(_at((x, 36)), _actions((1, (EAST, FAST, 0, 0))))
    _, calm, _ = _play(_at((x, 36)), _actions((1, (REST, FAST, 0, 0))))
    onsets = np.argwhere(events[:, 0] >= 0)
    assert onsets.tolist() == [[frame]] and events[frame, 0] == 0  # leaning on the shore is no second blow
    assert states.bumped[frame] and not np.any(states.bumped[:frame])
    assert _first_difference(bump.audio, calm.audio) - frame * SAMPLES in (0, 1)
    thud = np.ravel(bump.audio - calm.audio)[frame * SAMPLES :]
    assert 0.2 < np.abs(thud[:SAMPLES]).max() < 0.4 and np.abs(thud[4 * SAMPLES :]).max() < 1e-6


def test_chime_sounds_when_a_ripe_pearl_is_touched():
    """From x = 28 the pearl at (52, 20) is three tiles and as many frames away."""
    start = _at((28, 20))
    states, swim, events = _play(start, _actions((1, (EAST, FAST, 0, 0))))
    _, rest, _ = _play(start, _actions((1, (REST, FAST, 0, 0))))
    assert np.flatnonzero(events[:, 1] >= 0)[0] == 2 and events[2, 1] == 0
    assert _first_difference(swim.audio, rest.audio) - 2 * SAMPLES in (0, 1)
    assert np.all(states.pearls[:2, 1] == reef.RIPE) and not np.any(states.pearls[2:, 1])
    unripe = start._replace(pearls=start.pearls.at[1].set(reef.RIPE - 4))
    rings = start._replace(age=start.age.at[CHIME].set(SAMPLES))  # and no chime begins while another one rings
    for other in (unripe, rings):
        assert not np.any(_play(other, _actions((1, (EAST, FAST, 0, 0))))[2][:, 1] >= 0)


@pytest.mark.parametrize("who, to", [("body", (52, 36)), ("creature", (28, 44))])
def test_a_pearl_that_is_alone_again_grows_in_stages_that_can_be_seen(who, to):
    """Whoever was there, and however long: the one at (28, 28)."""
    start = _at(**{"body": (52, 52), "creature": (12, 52)} | {who: (28, 28)})
    gone = start._replace(**{who: jnp.array(to)})
    states, obs, _ = _play(gone, _actions((1, (REST, 0, 0, 0))))
    assert states.pearls[:, 2].tolist() == [*range(1, reef.RIPE), *[reef.RIPE] * (FRAMES + 1 - reef.RIPE)]
    looks = np.asarray(obs.video)[: reef.RIPE, 24:32, 24:32].astype(int)
    assert len(np.unique(looks, axis=0)) == 5 and np.any(looks[-1] != looks[0])
    ripe = np.asarray(jax.vmap(reef.pearl_ages)(states)) >= reef.RIPE
    assert ripe[-1, 3, 3] and not np.any(ripe[: reef.RIPE - 1, 3, 3])


def test_call_sounds_from_sample_zero_at_its_pitch():
    calls = _actions((4, (REST, 0, 0, 0)), (6, (REST, 0, 0, 2)), (6, (REST, 0, 0, 12)), (1, (REST, 0, 0, 0)))
    _, called, events = _play(_at((28, 28)), calls)
    _, silent, _ = _play(_at((28, 28)), _actions((1, (REST, 0, 0, 0))))
    assert np.flatnonzero(events[:, 2] == 0).tolist() == [4, 11]
    assert _first_difference(called.audio, silent.audio) - 4 * SAMPLES in (0, 1)  # a sine's sample 0 is 0
    voice = np.asarray(called.audio - silent.audio)
    assert np.abs(voice[4, :64]).max() > 0.1
    for frame, hertz in ((6, 480), (13, 855)):  # and a breath in frame 10
        spectrum = np.abs(np.fft.rfft(np.ravel(voice[frame : frame + 2])))
        assert np.argmax(spectrum) * MEDIA.sample_rate / (2 * SAMPLES) == hertz


def test_a_drum_beats_every_fourth_frame_while_it_is_played():
    beats = _actions((2, (REST, 0, 0, 0)), (9, (REST, 0, 0, 0, 1)), (4, (REST, 0, 0, 0, 3)), (1, (REST, 0, 0, 0)))
    _, played, events = _play(_at((28, 28)), beats)
    _, silent, _ = _play(_at((28, 28)), _actions((1, (REST, 0, 0, 0))))
    assert np.flatnonzero(events[:, 3] == 0).tolist() == [2, 6, 10, 11]  # another drum begins at once
    assert _first_difference(played.audio, silent.audio) - 2 * SAMPLES in (0, 1)


def test_no_click_at_frame_borders():
    """Thud, chime, calls and drums ring on over frame borders with no larger jump there than inside the frames."""
    runs = ((9, (EAST, FAST, 0, 0, 1)), (3, (EAST, FAST, 0, 2)), (4, (EAST, FAST, 0, 1, 4)), (1, (EAST, 1, 0, 0)))
    _, obs, events = _play(_at((28, 20)), _actions(*runs))
    assert np.all(np.any(np.asarray(events) >= 0, axis=0))
    audio = np.asarray(obs.audio)
    inside = np.abs(np.diff(audio, axis=1)).max(axis=1)
    across = np.abs(audio[1:, 0] - audio[:-1, -1])
    assert np.all(across <= np.maximum(inside[1:], inside[:-1]))
    assert np.abs(audio).max() < 1


@pytest.mark.parametrize("weather", [0, 1])
def test_the_sound_fades_when_the_scene_changes(weather):
    """What a change of weather does to the sound begins as next to nothing; rain is noise, which has no phase."""
    start = _at((28, 28))._replace(**{name: DAY._replace(weather=weather) for name in ("scene", "next_scene")})
    start = _play(start, _actions((1, (REST, 0, 0, 0))))[0]
    start = jax.tree.map(lambda x: x[-1], start)
    calm = _actions((1, (REST, 0, 0, 0)))
    other = reef.set_scene(start, DAY._replace(weather=1 - weather))
    stays, changes = (_play(s, calm)[1].audio for s in (start, other))
    differs = np.ravel(changes - stays)
    loud = lambda x: np.sqrt(np.mean(np.square(x)))
    assert 0 < loud(differs[:64]) < 0.1 * loud(differs[-4 * SAMPLES :])


# ---------------------------------------------------------------------------- alignment


def test_light_and_motion_show_in_the_next_frame():
    change = 5
    start = _at((20, 28))
    rest = _actions((1, (REST, FAST, 0, 0)))
    moved, lit = rest.copy(), rest.copy()
    moved[change:, reef.HEADING] = EAST
    lit[change:, reef.LIGHT] = 1
    (_, still, _), (states, swim, _), (_, lamp, _) = (_play(start, a) for a in (rest, moved, lit))
    first = lambda obs: np.flatnonzero(np.any(obs.video != still.video, axis=(1, 2, 3)))[0]
    assert first(lamp) == first(swim) == change  # index t holds the frame after action t, frame t+1 of the stream
    assert states.body[change - 1 : change + 2, 0].tolist() == [20, 28, 36]


@pytest.mark.parametrize("speed, frames", list(enumerate(reef.STROKES)))
def test_speeds_are_frames_from_move_to_move(speed, frames):
    states, _, _ = _play(_at((12, 28)), _actions((1, (EAST, speed, 0, 0))))
    moves = np.flatnonzero(np.diff(states.body[:, 0]))
    assert len(moves) >= 4 and np.all(np.diff(moves) == frames)


def test_a_scene_shows_from_the_next_frame_on():
    state = _at((28, 28))
    rest = jnp.zeros(5, jnp.int32)
    asked = reef.set_scene(state, reef.Scene(2, 1, 1, 2))
    np.testing.assert_array_equal(_observe(asked).video, _observe(state).video)
    np.testing.assert_array_equal(_observe(asked).audio, _observe(state).audio)
    after = _advance(asked, rest)
    assert tuple(map(int, after.scene)) == (2, 1, 1, 2, reef.BAY)
    assert np.mean(_observe(after).video) < 0.7 * np.mean(_observe(_advance(state, rest)).video)


def test_every_scene_has_its_own_look():
    bay = reef.at(reef.BAY)
    looks = [np.asarray(_observe(_at((28, 28), scene=reef.Scene(*map(jnp.int32, s)))).video, float) for s in bay]
    apart = [np.abs(a - b).max(-1) > 30 for i, a in enumerate(looks) for b in looks[:i]]
    assert min(x.sum() for x in apart) > 30  # another creature alone changes some fifty pixels


# ---------------------------------------------------------------------------- geography and creatures


def test_every_pearl_can_be_reached_and_no_place_is_cut_off():
    column, row = PEARLS.T // TILE
    assert np.all(TILES[row, column] == "~") and np.all(PEARL_OF[row, column] == np.arange(len(PEARLS)))
    assert np.sum(len(PEARLS) > PEARL_OF) == len(PEARLS)
    for free in (FREE[: OFFSHORE // TILE], FREE[OFFSHORE // TILE :]):
        rows, columns = (np.flatnonzero(free.any(axis)) for axis in (1, 0))
        assert free[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()  # a rectangle


@pytest.mark.parametrize(
    "kind, body, there",
    [
        *((FISH, (36, 36), (28, 36)), (TURTLE, (36, 36), (44, 44)), (JELLYFISH, (36, 36), (36, 28))),
        *((FISH, (12, 12), (20, 12)), (TURTLE, (52, 52), (44, 44)), (JELLYFISH, (20, 12), (20, 20))),  # by the shore
    ],
)
def test_creatures_keep_to_the_swimmer_as_their_kind_does_whatever_was_before(kind, body, there):
    """With the swimmer at rest, from everywhere."""
    begin = _at(body)
    scene = begin.scene._replace(creature=jnp.int32(kind))
    along = range(12, 60, TILE)
    places = [xy for xy in itertools.product(along, along) if xy != body]

    def end(creature):
        start = begin._replace(scene=scene, next_scene=scene, creature=creature)
        return jax.lax.scan(lambda s, a: (reef.advance(s, a), s.creature), start, jnp.zeros((9, 5), jnp.int32))

    last, path = jax.jit(jax.vmap(end))(jnp.array(places))
    assert np.all(last.creature == np.array(there))
    assert np.all(np.abs(path - begin.body).max(-1) >= TILE)


@pytest.mark.parametrize("kind", [FISH, TURTLE, JELLYFISH])
def test_who_is_swum_into_changes_places_with_the_swimmer(kind):
    start = _at((20, 28), creature=(28, 28))
    scene = start.scene._replace(creature=jnp.int32(kind))
    start = start._replace(scene=scene, next_scene=scene)
    after, _ = _step(start, jnp.array((EAST, FAST, 0, 0, 0)))
    assert after.body.tolist() == [28, 28] and after.creature.tolist() == [20, 28]


def test_errors_are_not_carried_on():
    """Swimmers who begin a tile apart and do the same are in the same place once they swam against the same shores."""
    actions = _actions((5, (EAST, FAST, 0, 0)), (1, (3, FAST, 0, 0)))
    one, other = (_play(_at(body), actions)[0].body for body in ((20, 36), (28, 44)))
    assert not np.array_equal(one[0], other[0])
    assert np.array_equal(one[-1], other[-1])


def test_nothing_is_drawn_over_the_tile_of_a_body():
    """A patch of 8 x 8 pixels holds a body or a splash or a pearl, not two of them: few patches to learn."""
    keys = jax.random.split(jax.random.key(0), 64)
    rainy, dry = (jax.vmap(lambda k, s=s: reef.reset(k, s)[0])(keys) for s in (DAY._replace(weather=1), DAY))
    wet, clear = (np.asarray(jax.vmap(reef.draw)(states), int) for states in (rainy, dry))
    differs = np.abs(wet - clear).max((-1,)).reshape(64, 8, TILE, 8, TILE).max((2, 4)) > 0
    centre = TILE * np.arange(8) + TILE / 2
    for who in (rainy.body, rainy.creature):
        x, y = (centre == np.asarray(axis)[:, None] for axis in who.T)
        assert not np.any(differs & y[:, :, None] & x[:, None, :])
    assert differs.any()


# ---------------------------------------------------------------------------- the open reef


def _offshore(column, row, **fields):
    """The open reef by day, with the swimmer on that tile of it and the creature beside."""
    state, _ = _reset(jax.random.key(3), DAY._replace(creature=JELLYFISH, place=reef.OPEN))
    body = jnp.array((column * TILE + TILE // 2, OFFSHORE + row * TILE + TILE // 2))
    return state._replace(body=body, creature=body + jnp.array((2 * TILE, 0)), rained=jnp.int32(0), **fields)


def test_the_camera_follows_by_whole_tiles_and_stops_at_the_shore():
    states, obs, _ = _play(_offshore(8, 8), _actions((1, (EAST, FAST, 0, 0))))
    corners = np.array([reef.camera(body) for body in states.body])
    assert np.all(corners % TILE == 0) and np.all(np.diff(corners[:, 0]) >= 0)
    assert corners[-1].tolist() == [(TILES.shape[1] * TILE) - SIZE, OFFSHORE + 4 * TILE]
    assert states.body[-1].tolist() == [18 * TILE + TILE // 2, OFFSHORE + 8 * TILE + TILE // 2]
    # While it follows, everything but the bodies moves by a tile.
    before, after = np.asarray(obs.video[1], int), np.asarray(obs.video[2], int)
    moved = np.abs(after[:, :-TILE] - before[:, TILE:]).max(-1).reshape(8, TILE, 7, TILE).max((1, 3)) > 0
    assert corners[2, 0] - corners[1, 0] == TILE and moved.sum() <= 5


def test_who_comes_back_finds_what_was_there():
    away = _actions((8, (EAST, FAST, 0, 0)), (8, (5, FAST, 0, 0)), (1, (REST, FAST, 0, 0)))
    start = _offshore(6, 4)
    states, obs, _ = _play(start, away)
    assert states.body[15].tolist() == start.body.tolist() and not np.array_equal(states.body[7], start.body)
    home, again = (np.asarray(x, int) for x in (_observe(start).video, obs.video[15]))
    assert (np.abs(home - again).max(-1) > 0).mean() < 4 * TILE * TILE / SIZE**2  # but for the bodies
    assert (np.abs(home - np.asarray(obs.video[7], int)).max(-1) > 0).mean() > 0.1


def test_what_is_hidden_below_a_swimmer_comes_back_when_it_has_passed():
    coral = np.argwhere(TILES == "c")[4] - (OFFSHORE // TILE, 0)
    over, beside = (_offshore(int(coral[1]) + x, int(coral[0])) for x in (0, 1))
    patch = lambda state: np.asarray(_observe(state).video)[_crop(coral, state)]
    assert np.abs(patch(over).astype(int) - patch(beside)).max() > 30
    plain = np.asarray(_observe(_at((28, 28), creature=(44, 44))).video)[8:16, 8:16]
    assert np.abs(patch(beside).astype(int) - plain).max() > 30


def _crop(tile, state):
    """Where in the frame of `state` the tile (row, column) of the open reef is."""
    x, y = (tile[::-1] * TILE + (0, OFFSHORE)) - np.asarray(reef.camera(state.body))
    return np.s_[y : y + TILE, x : x + TILE]


def test_creatures_begin_in_sight_and_prompts_do_not_move_the_place():
    keys = jax.random.split(jax.random.key(0), 64)
    states = jax.vmap(lambda k: reef.reset(k, DAY._replace(place=reef.OPEN))[0])(keys)
    assert np.all(states.body[:, 1] > OFFSHORE) and np.all(states.creature[:, 1] > OFFSHORE)
    corners = np.array([reef.camera(body) for body in states.body])
    assert np.all((states.creature >= corners) & (states.creature < corners + SIZE))
    assert int(reef.set_scene(_offshore(4, 4), DAY).next_scene.place) == reef.OPEN


@pytest.mark.parametrize("place", [reef.BAY, reef.OPEN])
def test_rain_that_begins_falls_as_it_always_does(place):
    """What nobody could see before, the frames counted so far, says nothing about where it falls."""
    dry = DAY._replace(place=place)
    start, _ = _reset(jax.random.key(3), dry)
    early, late = (start._replace(clock=jnp.int32(n), rained=jnp.int32(n)) for n in (0, 7))
    rain = _actions((1, (REST, 0, 0, 0)))
    (_, one, _), (_, other, _) = (_play(reef.set_scene(s, dry._replace(weather=1)), rain) for s in (early, late))
    np.testing.assert_array_equal(one.video, other.video)
    goes_on, _, _ = _play(_reset(jax.random.key(3), dry._replace(weather=1))[0], rain)
    assert np.all(np.diff(goes_on.rained) == 1)


def test_rain_on_the_open_reef_goes_east_and_any_nine_tiles_of_water_tell_where_it_is():
    rings = np.asarray(_SPLASHES).reshape(-1, TILES.shape[0], TILE, TILES.shape[1], TILE).max((2, 4)) > 0
    rings, plain = rings[:, SIZE // TILE :], (TILES == "~")[SIZE // TILE :]
    for now, following in itertools.pairwise(rings):
        np.testing.assert_array_equal(
            following[:, 1:], (now[:, :-1] & plain[:, 1:]) | (following[:, 1:] & ~plain[:, :-1])
        )
    windows = np.lib.stride_tricks.sliding_window_view
    whole = windows(plain, (3, 3)).all((2, 3))
    count = windows(rings[0], (3, 3)).sum((2, 3))[whole]
    assert set(count) <= {1, 2}
    assert 0.19 < rings[:, plain].mean() < 0.21

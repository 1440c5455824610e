"""What directing is judged by, on sessions whose answers are known, and of the shipped world."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import oyster_jax as oyster
from oyster_jax.errors import OysterError
from oyster_jax.evaluation import directing
from oyster_jax.sims import reef

# Of each pair the second is an event. Two of the four first ones were never recorded, and one of the events.
NEW, KNOWN = reef.at(reef.BAY, reef.HELD_OUT), reef.at(reef.BAY, reef.SEEN)
ASKED = np.array([(KNOWN[0], KNOWN[-1]), (KNOWN[20], NEW[3]), (NEW[0], KNOWN[9]), (NEW[-1], KNOWN[33])])


@pytest.fixture(scope="module")
def obeyed():
    """What the simulator itself makes of ASKED."""
    rest = np.zeros(len(reef.ACTIONS.factors), np.int32)

    @jax.jit
    @jax.vmap
    def session(key, asked):
        def frame(state, told):
            return reef.step(reef.set_scene(state, reef.Scene(*told)), rest)

        state, first = reef.reset(key, reef.Scene(*asked[0]))
        _, seen = jax.lax.scan(frame, state, jnp.repeat(asked, directing.FRAMES, axis=0))
        return jax.tree.map(lambda one, more: jnp.concatenate([one[None], more]), first, seen)

    return jax.device_get(session(jax.random.split(jax.random.key(0), len(ASKED)), jnp.asarray(ASKED)))


def test_the_simulator_does_as_it_is_told(obeyed):
    told = directing.followed(obeyed, ASKED)
    assert (told["seen"]["prompts"], told["held_out"]["prompts"]) == (2, 2)
    for part in told.values():
        for when in ("first_frame", "after_2_s", "event_after_2_s"):
            assert set(part[when].values()) == {1.0}, when
        assert part["heard_after_1_s"] == part["heard_event_after_1_s"] == {"time": 1, "weather": 1}
    assert told["seen"]["frames_until_event"] == {"changes": 3, "followed": 1, "median_frames": 0}
    assert told["held_out"]["frames_until_event"]["changes"] == 1


def test_who_is_not_listened_to_is_told_apart_by_attribute(obeyed):
    """Every prompt taken for another creature's, and every event for nothing."""
    wrong = ASKED.copy()
    wrong[..., 3] = (wrong[..., 3] + 1) % len(reef.SCENES.creature)
    shown = directing.shows(obeyed.video[:, :1], wrong[:, :1])
    assert not shown["creature"].any() and not shown["all"].any()
    assert shown["time"].all() and shown["weather"].all() and shown["water"].all()
    half = directing.FRAMES + 1
    deaf = jax.tree.map(lambda x: np.concatenate([x[:, :half], x[:, 1:half]], axis=1), obeyed)
    told = directing.followed(deaf, ASKED)
    for part in told.values():
        assert part["after_2_s"]["all"] == 1 and part["event_after_2_s"]["all"] == 0
        assert part["frames_until_event"]["followed"] == 0


def test_the_shipped_world_shows_hour_weather_and_water_as_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(directing.DirectOptions, "scenes", (*KNOWN[::9], *NEW[::4]))
    told = directing.evaluate_directing(oyster.load("reef"), tmp_path, directing.DirectOptions(rounds=1))
    for part in ("seen", "held_out"):
        for when in ("first_frame", "after_2_s", "event_after_2_s"):
            assert min(told[part][when][name] for name in ("time", "weather", "water")) > 0.7, (part, when)
    assert told["image_psnr"] > 25
    for file in ("directing.png", "directing.json", "index.html"):
        assert (tmp_path / file).stat().st_size > 1000, file


def test_a_world_of_something_else_is_refused(world, tmp_path):
    with pytest.raises(OysterError, match="other sizes"):
        directing.evaluate_directing(world, tmp_path)


def test_a_prompt_is_followed_from_the_first_frame_that_shows_all_of_it():
    scene = reef.Scene(*np.zeros((5, 1, 12), int))
    scene.time[0, 4:9] = 1  # changes at 4 and at 9
    curves = {name: np.ones((1, 12)) for name in reef.ATTRIBUTES}
    curves["water"][0, 4:6] = 0  # at 4 it takes two frames
    curves["creature"][0, 9:] = 0  # at 9 it never comes
    told = directing.frames_until_followed(curves, scene)
    assert told == {"changes": 2, "followed": 0.5, "median_frames": 2.0}
    for moment in (10, 11):  # which is not enough, nor is it at the end
        curves["creature"][0, 9:] = np.arange(9, 12) == moment
        assert directing.frames_until_followed(curves, scene) == told

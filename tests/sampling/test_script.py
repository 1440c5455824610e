"""An action script says what it means, or says which part of it does not fit."""

from dataclasses import replace

import numpy as np
import pytest

from oyster_jax.config import ActionFactor, ActionSpace
from oyster_jax.errors import OysterError
from oyster_jax.models.controls import fit_controls, with_previous
from oyster_jax.models.world_model import World
from oyster_jax.sampling.script import parse_actions, sticky_random, world_actions

PAD = ActionSpace((ActionFactor("button", ("NOOP", "FIRE", "LEFT")),))
SWIM = ActionSpace((ActionFactor("heading", ("stay", "N", "E")), ActionFactor("light", ("off", "on"))))


@pytest.mark.parametrize(
    "space, script, expected",
    [
        (PAD, "LEFT*2,FIRE", [[2], [2], [1], [2], [2], [1], [2]]),
        (PAD, " left * 3 , 1*9", [[2], [2], [2], [1], [1], [1], [1]]),
        (PAD, "FIRE", [[1]] * 7),
        (SWIM, "N/on*3,stay/off*2", [[1, 1], [1, 1], [1, 1], [0, 0], [0, 0], [1, 1], [1, 1]]),
        (SWIM, "2/1,E/0*1", [[2, 1], [2, 0], [2, 1], [2, 0], [2, 1], [2, 0], [2, 1]]),
        (SWIM, "idle", [[0, 0]] * 7),
        (ActionSpace(), "random", [[]] * 7),
        (PAD, "LEFT*99999999999999", [[2]] * 7),  # as long as needed, and no longer
    ],
)
def test_a_script_is_repeated_as_long_as_needed(space, script, expected):
    actions = parse_actions(space, script, 7)
    assert actions.dtype == np.int32 and actions.tolist() == expected


def test_a_label_that_is_a_number_goes_before_the_number():
    """Doom's weapons are called 0 to 9 and begin at value 1."""
    space = ActionSpace((ActionFactor("weapon", ("none", "0", "1")),))
    assert parse_actions(space, "1,none", 2).tolist() == [[2], [0]]


@pytest.mark.parametrize(
    "space, script, message",
    [
        (PAD, "LEFT*2,DUCK", "'button' has no value 'DUCK'; it has NOOP, FIRE, LEFT"),
        (PAD, "3", "'button' has no value '3'"),
        (PAD, "-1", "'button' has no value '-1'"),
        (PAD, "²", "'button' has no value '²'"),
        (PAD, "LEFT*0", r"'LEFT\*0' should read ACTION\*FRAMES"),
        (PAD, "LEFT*", r"'LEFT\*' should read ACTION\*FRAMES"),
        (PAD, "LEFT*two", r"'LEFT\*two' should read"),
        (PAD, "LEFT*²", r"should read"),
        (PAD, "", "'button' has no value ''"),
        (PAD, "LEFT,,FIRE", "'button' has no value ''"),
        (SWIM, "N", "'N' should have 2 values, heading/light"),
        (SWIM, "N/on/off", "'N/on/off' should have 2 values, heading/light"),
        (SWIM, "N/dim", "'light' has no value 'dim'; it has off, on"),
    ],
)
def test_what_does_not_fit_is_named(space, script, message):
    with pytest.raises(OysterError, match=message):
        parse_actions(space, script, 7)


def test_random_actions_are_sticky_cover_the_space_and_repeat_with_their_seed():
    actions = parse_actions(SWIM, "random", 4000, seed=1)
    SWIM.check(actions)
    assert [len(np.unique(column)) for column in actions.T] == [3, 2]
    np.testing.assert_allclose((actions[1:] == actions[:-1]).mean(0), [0.85 + 0.15 / 3, 0.85 + 0.15 / 2], atol=0.02)
    assert np.array_equal(actions, sticky_random(SWIM, 4000, np.random.default_rng(1)))
    assert not np.array_equal(actions, parse_actions(SWIM, "random", 4000, seed=2))


def test_a_world_of_latent_actions_is_driven_by_name_where_it_has_labels(config):
    latent = replace(config, dynamics=replace(config.dynamics, actions="latent"))
    rng = np.random.default_rng(0)
    actions = rng.integers(0, config.actions.sizes, (600, 2))
    codes = np.stack([2 - actions[:, 0], 1 - actions[:, 1]], axis=1)  # the codes (3, 2) mean the controls reversed
    controls = fit_controls(codes, with_previous(actions), latent.latent_action.codes, 2 * config.actions.sizes)
    named = world_actions(World({"controls": controls}, latent), "left/on*2,stay/off", 3)
    assert named.tolist() == [[1, 0], [1, 0], [2, 1]]
    assert world_actions(World({}, latent), "2/1,0/0", 2).tolist() == [[2, 1], [0, 0]]  # without: the codes themselves
    with pytest.raises(OysterError, match="'latent0' has no value 'left'"):
        world_actions(World({}, latent), "left/on", 2)

"""Effects of actions that are known: a perfect world, one that ignores a factor, a frozen one, noise."""

import jax
import numpy as np
import pytest

from oyster_jax.errors import OysterError
from oyster_jax.evaluation import effects
from oyster_jax.evaluation.effects import Outcomes, judge
from oyster_jax.sims import reef

STARTS = 10
FACTORS = range(len(reef.ACTIONS.factors))


@pytest.fixture(scope="module")
def truths():
    """Of each factor what all its values lead to in the simulator."""
    moments = effects.fresh_moments(jax.random.key(0), STARTS, 4)
    play = lambda actions: effects._simulate(moments.state, actions)
    return [effects.every_value(play, moments.held, factor) for factor in FACTORS]


@pytest.mark.parametrize("factor", FACTORS)
def test_a_perfect_world_has_every_value_told_apart(truths, factor):
    told = judge(Outcomes(truths[factor], truths[factor]))
    assert told["values"] == told["told_apart"] == reef.ACTIONS.sizes[factor]
    assert told["accuracy"] == [1.0] * told["values"]
    seen, heard = told["delta_psnr"], told["delta_log_mel"]
    assert max(seen["low"], heard["low"]) > 0
    assert seen["low"] >= 0 and heard["low"] >= 0  # never is another value's outcome the nearer one


def test_a_world_that_ignores_a_factor_has_one_value_of_it_at_most(truths):
    light = truths[reef.LIGHT]
    deaf = jax.tree.map(lambda x: np.broadcast_to(x[2], x.shape), light)  # red, whatever it is told
    told = judge(Outcomes(light, deaf))
    assert told["told_apart"] == 1 and told["accuracy"][2] == 1
    assert abs(told["delta_psnr"]["mean"]) < 1e-4


@pytest.mark.parametrize("factor", [reef.HEADING, reef.CALL])
def test_frozen_frames_and_noise_tell_nothing(truths, factor):
    truth, rng = truths[factor], np.random.default_rng(0)
    frozen = truth._replace(video=np.broadcast_to(truth.video[:1, :, :1], truth.video.shape), audio=0 * truth.audio)
    noise = truth._replace(
        video=rng.integers(0, 256, truth.video.shape, np.uint8), audio=rng.uniform(-1, 1, truth.audio.shape)
    )
    for made in (frozen, noise):
        told = judge(Outcomes(truth, made))
        assert told["told_apart"] <= 1
        assert told["delta_psnr"]["low"] <= 1e-4


def test_a_world_that_mistakes_two_values_for_each_other_loses_both(truths):
    light = truths[reef.LIGHT]
    order = np.array([0, 1, 2, 3, 4, 5, 7, 6])
    told = judge(Outcomes(light, jax.tree.map(lambda x: x[order], light)))
    assert told["told_apart"] == 6 and told["accuracy"] == [1.0] * 6 + [0.0] * 2


def test_all_actions_of_a_perfect_world_but_those_that_only_differ_in_the_speed_of_a_swimmer_at_rest(truths):
    report = {factor.name: judge(Outcomes(t, t)) for factor, t in zip(reef.ACTIONS.factors, truths)}
    assert effects.distinct_actions(report) == (8 * 3 + 1) * 8 * 13 * 5
    report["light"] = report["light"] | {"told_apart": 0}  # as good as one value
    report["heading"] = report["heading"] | {"told_apart": 8, "sure": [False] + 8 * [True]}
    assert effects.distinct_actions(report) == 8 * 3 * 1 * 13 * 5


def test_another_world_is_refused(world):
    with pytest.raises(OysterError, match="other sizes"):
        effects.effects(world)

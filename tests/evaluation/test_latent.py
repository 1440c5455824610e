"""Latent actions that mean something are told from codes that mean nothing; controls find their codes by name."""

import itertools

import numpy as np
import pytest

from oyster_jax.evaluation.latent import latent_report, mutual_information_share
from oyster_jax.models.controls import fit_controls, predict_codes, with_previous

RNG = np.random.default_rng


def test_codes_that_are_the_actions_renamed_score_one():
    actions = RNG(0).integers(0, 5, (2000, 1))
    codes = RNG(1).permutation(8)[actions]
    report = latent_report(codes, actions, (8,), {"turn": 5})
    assert report["codes_used"] == [5]
    assert report["controls"]["turn"]["accuracy"] == 1
    assert report["controls"]["turn"]["mutual_information_share"] == pytest.approx(1)
    assert report["controls"]["turn"]["majority"] < 0.3
    assert report["code_from_controls"]["accuracy"] == 1


def test_codes_that_say_nothing_score_no_better_than_the_commonest_action():
    actions = RNG(0).choice(4, (20_000, 1), p=[0.5, 0.2, 0.2, 0.1])
    codes = RNG(1).integers(0, 6, (20_000, 1))
    report = latent_report(codes, actions, (6,), {"turn": 4})
    factor = report["controls"]["turn"]
    assert factor["mutual_information_share"] < 0.01
    few = latent_report(RNG(2).integers(0, 64, (500, 1)), actions[:500], (64,), {"turn": 4})["controls"]["turn"]
    chance = few["mutual_information_by_chance"]
    assert chance > 0.1 and few["mutual_information_share"] == pytest.approx(chance, abs=0.1)
    assert factor["accuracy"] == factor["majority"] == pytest.approx(0.5, abs=0.02)
    assert report["code_from_controls"]["accuracy"] == pytest.approx(1 / 6, abs=0.02)


def test_a_code_that_says_one_factor_of_two_is_seen_through():
    actions = RNG(0).integers(0, (3, 4), (4000, 2))
    codes = np.stack([actions[:, 1], RNG(1).integers(0, 2, 4000)], axis=1)  # a second code that is noise
    report = latent_report(codes, actions, (4, 2), {"turn": 3, "call": 4})["controls"]
    assert report["call"]["accuracy"] == 1 and report["call"]["mutual_information_share"] == pytest.approx(1)
    assert report["turn"]["mutual_information_share"] < 0.02


def test_mutual_information_by_hand():
    """A binary channel that flips one symbol in four: 1 - H(1/4) bits of one bit."""
    entropy = -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    assert mutual_information_share(np.array([[3, 1], [1, 3]])) == pytest.approx(1 - entropy)
    assert mutual_information_share(np.outer([1, 2, 3], [4, 5])) == pytest.approx(0)
    assert mutual_information_share(np.array([[5, 0], [7, 0]])) == 0  # an action that never varies


def test_controls_recover_a_permutation_from_few_examples():
    mapping = RNG(2).permutation(18)
    actions = RNG(3).integers(0, 18, (400, 1))
    codes = np.where(RNG(4).random((400, 1)) < 0.2, RNG(5).integers(0, 18, (400, 1)), mapping[actions])  # a fifth wrong
    controls = fit_controls(codes, actions, (18,), (18,))
    np.testing.assert_array_equal(predict_codes(controls, np.arange(18)[:, None])[:, 0], mapping)


def test_controls_name_combinations_that_were_never_seen():
    """Two codes, each of one factor's value; half of the 16 x 8 combinations are left out of the labels."""
    turn, call = RNG(6).permutation(16), RNG(7).permutation(8)
    every = np.array(list(itertools.product(range(16), range(8))))
    seen = every[RNG(8).random(len(every)) < 0.5]
    truth = lambda actions: np.stack([turn[actions[:, 0]], call[actions[:, 1]]], axis=1)
    controls = fit_controls(truth(seen), seen, (16, 8), (16, 8))
    named = predict_codes(controls, every)
    assert named.dtype == np.int32 and len(seen) < 80
    np.testing.assert_array_equal(named, truth(every))


def test_an_action_without_an_example_gets_the_commonest_code():
    controls = fit_controls(np.array([[2], [2], [1]]), np.array([[0], [0], [1]]), (4,), (3,))
    assert predict_codes(controls, np.array([[0], [1], [2]])).tolist() == [[2], [1], [2]]


def test_controls_that_act_an_interval_late_are_found():
    """The code is the action before: knowing it names the code, whatever is pressed now; unknown, it says nothing."""
    actions = RNG(9).integers(0, 4, (500, 1))
    controls = with_previous(actions)
    assert controls[0, 1] == -1 and np.array_equal(controls[1:, 1], actions[:-1, 0])
    codes = np.maximum(controls[:, 1:], 0)
    tables = fit_controls(codes, controls, (4,), (4, 4))
    np.testing.assert_array_equal(predict_codes(tables, controls[1:]), codes[1:])
    unknown = predict_codes(tables, np.array([[-1, -1]]))
    assert unknown[0, 0] == np.bincount(codes[:, 0]).argmax()

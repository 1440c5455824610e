"""Guessers are fair, and controllability is nothing but what the actions do."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.evaluation.dynamics import controllability, fully_masked_bits, guesser_bits
from oyster_jax.models.world_model import World
from oyster_jax.sampling.rollout import prefill, rollout, tokenize


def test_the_guessers_probabilities_sum_to_one():
    """Every frame that could follow, of 3 tokens out of a vocabulary of 4, by brute force."""
    train = np.random.default_rng(0).integers(0, 4, (50, 3))
    before = np.array([0, 3, 1])
    for name in ("unigram", "copy"):
        bits = [
            guesser_bits([train], [np.stack([before, now])], 4)[name] for now in itertools.product(range(4), repeat=3)
        ]
        assert np.exp2(-np.array(bits)).sum() == pytest.approx(1)


def test_unigram_bits_are_the_entropy_of_independent_tokens():
    rng = np.random.default_rng(1)
    p = np.array([[0.5, 0.25, 0.125, 0.125], [0.7, 0.1, 0.1, 0.1]])
    draw = lambda n: np.stack([rng.choice(4, n, p=row) for row in p], axis=1)
    bits = guesser_bits([draw(40_000)], [draw(40_000)], 4)
    assert bits["unigram"] == pytest.approx(-(p * np.log2(p)).sum(), rel=0.01)
    assert bits["copy"] > bits["unigram"]  # nothing is to be gained from what was before


def test_copying_wins_where_tokens_stay():
    """A token that changes to a uniform one with probability 1/10: its exact cost is known."""
    rng = np.random.default_rng(2)
    tokens = np.zeros((20_000, 1), int)
    for t in range(1, len(tokens)):
        tokens[t] = rng.integers(0, 8) if rng.random() < 0.1 else tokens[t - 1]
    stays, moves = 0.9 + 0.1 / 8, 0.1 / 8
    exact = -stays * np.log2(stays) - 7 * moves * np.log2(moves)
    bits = guesser_bits([tokens[:10_000]], [tokens[10_000:15_000], tokens[15_000:]], 8)
    assert bits["unigram"] == pytest.approx(3, abs=0.05)
    assert bits["copy"] == pytest.approx(exact, abs=0.03)


def test_a_places_own_frequencies_are_used():
    train = np.tile([0, 1, 2], (100, 1))
    assert guesser_bits([train], [train[:5]], 3)["unigram"] < 0.01
    assert guesser_bits([train], [train[:5, ::-1]], 3)["unigram"] > 10


@pytest.fixture(scope="module")
def batch(world, clip):
    tokens, action = jax.jit(tokenize)(world, clip)
    return {
        "video_tokens": np.array(tokens.video),
        "audio_tokens": np.array(tokens.audio),
        "action": np.array(action),
        "prompt": np.array(clip.prompt),
        "prompt_id": np.array(clip.prompt_id),
    }


def test_a_frames_bits_are_a_sum_over_tokens_that_see_none_of_the_others(world, batch):
    """Two tokens of frame 6 take two values each: what one costs does not depend on the other, nor frames before."""
    four = {k: np.repeat(v[:1], 4, 0) for k, v in batch.items()}
    four["video_tokens"][:, 6, 2] = [7, 7, 23, 23]
    four["video_tokens"][:, 6, 3] = [5, 41, 5, 41]
    video, audio = fully_masked_bits(world, four)
    assert video.shape == audio.shape == (4, 12)
    a, b, c, d = np.array(video[:, 6])
    assert b - a == pytest.approx(d - c, abs=1e-3) and abs(b - a) > 0.1 and abs(c - a) > 0.1
    np.testing.assert_allclose(video[:, :6] - video[:1, :6], 0, atol=1e-4)
    np.testing.assert_allclose(audio[:, :7] - audio[:1, :7], 0, atol=1e-4)
    assert (np.ptp(video[:, 7:9], axis=0) > 1e-2).all()  # but frames after it are judged by their past


# ---------------------------------------------------------------------------- controllability

CONTEXT, HORIZONS = 5, (1, 3)


def dream(world, clip, seed):
    """`clip` with a future that the world itself made of its actions, as `controllability` will with this seed."""
    start = clip.first(CONTEXT)
    actions = jnp.moveaxis(clip.action[:, CONTEXT - 1 : CONTEXT + 2], 1, 0)

    @jax.jit
    def play(world, key, start, actions):
        return rollout(world, prefill(world, key, start)[0], actions)[1].video

    future = play(world, jax.random.fold_in(jax.random.key(seed), 0), start, actions)
    return clip._replace(video=clip.video.at[:, CONTEXT : CONTEXT + 3].set(jnp.moveaxis(future, 0, 1)))


def test_a_world_that_obeys_is_controllable(world, clip):
    """The truth is what the world makes of the true actions: it is met, and under other actions it is not."""
    report = controllability(world, [dream(world, clip, 3)], CONTEXT, HORIZONS, seed=3)
    assert list(report) == ["horizon_1", "horizon_3"]
    for row in report.values():
        assert row["psnr_true_actions"] == 100 and row["mean"] > 5
        assert row["count"] == 3 and row["low"] <= row["mean"] <= row["high"]
        assert row["mean"] == pytest.approx(row["psnr_true_actions"] - row["psnr_random_actions"])


def test_a_world_that_ignores_actions_scores_zero(world, clip):
    """To the bit, since both futures draw from the same keys: no noise to average away."""
    told = lambda path: any(key.key.startswith("action_") for key in path)
    deaf = jax.tree_util.tree_map_with_path(lambda p, x: 0 * x if told(p) else x, world.params["dynamics"])
    deafened = {path[0].key for path, _ in jax.tree_util.tree_leaves_with_path(deaf) if told(path)}
    assert deafened == {"action_embed_0", "action_embed_1", "explorer"}
    report = controllability(World(world.params | {"dynamics": deaf}, world.config), [clip], CONTEXT, HORIZONS)
    for row in report.values():
        assert row["mean"] == row["low"] == row["high"] == 0 and row["psnr_true_actions"] < 30


def test_the_same_actions_on_both_sides_score_zero(world, clip):
    """Even for a world that obeys: the comparison itself adds nothing. The true actions are those to be drawn."""
    sizes, longest = world.config.actions.sizes, max(HORIZONS)
    drawn = np.random.default_rng(4).integers(0, sizes, (longest, 3, 2))
    same = clip._replace(action=clip.action.at[:, CONTEXT - 1 : CONTEXT - 1 + longest].set(drawn.swapaxes(0, 1)))
    assert all(r["mean"] == 0 for r in controllability(world, [same], CONTEXT, HORIZONS, seed=4).values())
    assert any(r["mean"] != 0 for r in controllability(world, [same], CONTEXT, HORIZONS, seed=5).values())

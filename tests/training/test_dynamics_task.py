"""What the dynamics stage hides, corrupts and drops, frame by frame and modality by modality."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.config import DynamicsConfig
from oyster_jax.models.dynamics import leading_action
from oyster_jax.training.losses import masked_cross_entropy
from oyster_jax.training.tasks.dynamics import (
    Codebooks,
    begin_as_codes,
    corrupt,
    drop_conditions,
    init_dynamics,
    prior_loss,
    random_masks,
    usual,
    video_weights,
)
from oyster_jax.types import Logits, TokenFrame

B, T, N, K = 40, 50, 20, 10
GRID = DynamicsConfig(video_tokens=N, video_columns=5, video_shared=0, audio_tokens=K)


@pytest.fixture(scope="module")
def tokens():
    return TokenFrame(jnp.zeros((B, T, N), jnp.int32), jnp.zeros((B, T, K), jnp.int32))


@pytest.fixture(scope="module")
def shares(tokens):
    """The share of hidden tokens of each frame, float [B * T] for each modality."""
    masks = random_masks(jax.random.key(0), tokens, GRID)
    return [np.asarray(m.mean(-1)).reshape(-1) for m in masks]


def test_every_frame_and_modality_has_its_own_mask_ratio(shares):
    """Cosine of a uniform draw: mean 2/pi, and high ratios are the most frequent."""
    for share in shares:
        assert abs(share.mean() - 2 / np.pi) < 0.05
        assert np.mean(share > 0.75) > np.mean(share < 0.25) * 2
    ordinary = (shares[0] > 0) & (shares[0] < 1) & (shares[1] > 0) & (shares[1] < 1)
    assert abs(np.corrcoef(shares[0][ordinary], shares[1][ordinary])[0, 1]) < 0.1


def test_some_frames_have_one_modality_given_and_the_other_hidden_whole(shares):
    """How a world starts from an image: its sound is to be sampled given the picture, and the other way round."""
    for given, hidden in (shares, shares[::-1]):
        assert 0.03 < np.mean((given == 0) & (hidden == 1)) < 0.08


def test_what_patches_share_counts_as_much_as_a_share_of_them():
    weights = video_weights(DynamicsConfig(video_tokens=65, video_shared=1), 0.25)
    assert (weights[:-1] == 1).all() and weights[-1] == weights[:-1].sum() / 4
    assert (video_weights(DynamicsConfig(video_tokens=64), 0.25) == 1).all()


def test_the_best_prior_is_how_often_each_code_is_there_under_each_prompt():
    rng = np.random.default_rng(0)
    prompt_id = np.array([[0, 0, 1, 1, 1]])
    tokens = TokenFrame(rng.integers(0, 3, (1, 5, 8)) + 2 * prompt_id[..., None], rng.integers(0, 4, (1, 5, 3)))
    weights = np.array([1.0] * 7 + [7 / 4])

    def counted(t, weights, codes):
        each = (t[..., None] == np.arange(codes)) * weights[:, None]
        return np.stack([each[prompt_id == i].sum((0, 1)) for i in (0, 1, 0)])[None]

    count = Logits(counted(tokens.video, weights, 5), counted(tokens.audio, np.ones(3), 4))
    cost = lambda prior: float(prior_loss(Logits(*map(jnp.asarray, prior)), prompt_id, tokens, weights))
    best = [np.log(np.maximum(c, 1e-9)) for c in count]
    entropy = [-np.sum(c[0, :2] * np.log(np.maximum(c / c.sum(-1, keepdims=True), 1e-9))[0, :2]) for c in count]
    np.testing.assert_allclose(cost(best), sum(e / c[0, :2].sum() for e, c in zip(entropy, count)), rtol=1e-5)
    np.testing.assert_allclose(cost([np.zeros_like(c) for c in count]), np.log(5) + np.log(4), rtol=1e-5)
    assert all(cost([b + 0.3 * rng.normal(size=b.shape) for b in best]) > cost(best) for _ in range(20))
    assert cost([b[:, [1, 0, 2]] for b in best]) > cost(best) + 1


def test_something_is_always_hidden(shares):
    assert ((shares[0] > 0) | (shares[1] > 0)).all()


def test_in_every_other_frame_what_changes_is_hidden_first():
    """A tenth of the tokens change; frames that hide one of them or more and not all of it tell the two kinds apart."""
    rng = np.random.default_rng(3)
    changes = rng.random((B, T, N)) < 0.1
    tokens = TokenFrame(jnp.asarray(np.cumsum(changes, axis=1)), jnp.zeros((B, T, K), jnp.int32))
    mask = np.asarray(random_masks(jax.random.key(5), tokens, GRID).video)[:, 1:]
    changes = changes[:, 1:]
    partly = changes.any(-1) & (mask.sum(-1) >= changes.sum(-1)) & (mask.mean(-1) < 0.5)
    first = (mask | ~changes).all(-1)[partly]
    assert 0.5 < first.mean() < 0.75, "half of the frames, and some by chance"
    assert abs(mask.mean() - 2 / np.pi) < 0.05


def test_of_few_hidden_frames_little_is_hidden_and_mostly_what_moves_or_is_next_to_it():
    """A thing as wide as a token goes along the second of a still picture's four rows of five tokens."""
    place = np.arange(T) % 5 + 5
    video = jnp.broadcast_to(jax.nn.one_hot(place, N, dtype=jnp.int32), (B, T, N))
    tokens = TokenFrame(video, jnp.zeros((B, T, K), jnp.int32))
    mask = np.asarray(random_masks(jax.random.key(6), tokens, GRID, few_hidden=1.0).video)[:, 1:]
    hidden = mask.sum(-1)
    ordinary = (hidden > 0) & (hidden < N)  # a frame in ten is hidden whole or given
    assert hidden[ordinary].max() == np.ceil(N / 8) and 0.85 < ordinary.mean() < 0.95
    mask, now = mask[ordinary], np.broadcast_to(place[1:], (B, T - 1))[ordinary]
    of = lambda columns: np.take_along_axis(mask, columns, axis=1).mean()
    moves, far = of(now[:, None]), of(np.broadcast_to(np.arange(15, N), (len(mask), 5)))
    assert moves > 2 * of(now[:, None] - 5) > 4 * far, "what moves, what is next to it, and what is two rows away"


def test_masks_are_spread_evenly_over_places(tokens):
    for mask in random_masks(jax.random.key(1), tokens, GRID):
        assert np.ptp(np.asarray(mask.mean((0, 1)))) < 0.08


def test_what_is_unusual_is_forgotten_in_some_places_of_some_frames():
    """In these anything from none to all of the places, half on average, show what is usual there."""
    rng, clips = np.random.default_rng(4), 10 * B
    ordinary = 1000 * np.arange(clips)[:, None, None] + np.arange(N)
    moves = rng.random((clips, T, N)) < 0.2
    tokens = TokenFrame(jnp.asarray(np.where(moves, 500, ordinary)), jnp.asarray(rng.integers(0, 9, (clips, T, K))))
    past = corrupt(jax.random.key(2), tokens, 0.3)
    gone = np.asarray(past.video != tokens.video)
    assert (np.asarray(past.video) == np.where(gone, ordinary, tokens.video)).all()
    assert not (gone & ~moves).any(), "what is usual stays"
    share = gone.sum(-1) / np.maximum(moves.sum(-1), 1)
    assert abs(share.mean() - 0.3 / 2) < 0.02 and 0.2 < np.mean(share > 0) < 0.3
    assert np.mean(share == 1) > 0.02, "now and then all of it"
    whole = (np.asarray(past.audio) == np.asarray(tokens.audio)).all(-1)
    assert whole[share == 0].mean() > 0.85 and whole[share > 0].mean() < 0.3, "the same frames in both modalities"
    assert jax.tree.all(jax.tree.map(lambda x, y: (x == y).all(), corrupt(jax.random.key(2), tokens, 0.0), tokens))


def test_half_of_what_is_forgotten_is_so_to_the_end_of_its_clip():
    tokens = TokenFrame(*(jnp.broadcast_to(jnp.arange(T)[:, None], (50 * B, T, n)) for n in (N, K)))
    for now, was in zip(corrupt(jax.random.key(5), tokens, 0.2), tokens):
        gone = np.asarray(now != was)
        for frame in (T // 4, T // 2, 3 * T // 4):
            once, lasting = 0.1 / 2, 0.2 * frame / T / 2
            assert abs(gone[:, frame].mean() - (once + lasting)) < 0.015
            assert abs(gone[:, frame:].all(1).mean() - lasting) < 0.015


def test_what_is_usual_is_the_most_frequent_and_of_equals_the_first():
    assert usual(jnp.array([[[3, 7], [5, 7], [5, 8], [4, 8]]])).tolist() == [[[5, 7]]]


def test_conditions_are_dropped_per_frame_and_each_by_itself(config):
    rng = np.random.default_rng(0)
    batch = {
        "action": jnp.asarray(rng.integers(0, 3, (B, T, 2))),
        "prompt": jnp.zeros((B, 3, 8), jnp.uint8),
        "prompt_id": jnp.asarray(rng.integers(0, 3, (B, T))),
    }
    shares = dataclasses.replace(config.dynamics, action_dropout=0.1, prompt_dropout=0.3, past_dropout=0.2)
    told = drop_conditions(jax.random.key(3), batch, shares)
    alone = np.asarray(told.alone)
    assert abs(alone.mean() - 0.2) < 0.03 and (told.action[alone] == -1).all(), "no action leads to a first frame"
    told = drop_conditions(jax.random.key(3), batch, dataclasses.replace(shares, past_dropout=0.0))
    assert not told.alone.any()
    no_action, no_prompt = np.asarray((told.action == -1).all(-1))[:, 1:], np.asarray(told.prompt_id == 3)[:, 1:]
    assert abs(no_action.mean() - 0.1) < 0.03 and abs(no_prompt.mean() - 0.3) < 0.03
    assert abs((no_action & no_prompt).mean() - 0.03) < 0.02
    kept = ~no_action
    np.testing.assert_array_equal(told.action[:, 1:][kept], leading_action(batch["action"])[:, 1:][kept])
    np.testing.assert_array_equal(told.prompt_id[:, 1:][~no_prompt], batch["prompt_id"][:, 1:][~no_prompt])


def test_only_hidden_tokens_are_targets():
    logits = jnp.asarray(np.random.default_rng(1).normal(size=(2, 3, 4, 7)), jnp.float32)
    tokens, mask = jnp.ones((2, 3, 4), jnp.int32), jnp.zeros((2, 3, 4), bool).at[0, 1, 2].set(True)
    expected = -jax.nn.log_softmax(logits)[0, 1, 2, 1]
    np.testing.assert_allclose(masked_cross_entropy(logits, tokens, mask), expected, rtol=1e-6)
    assert masked_cross_entropy(logits, tokens, mask & False) == 0


def test_codes_that_stand_for_alike_things_begin_alike_and_so_does_what_stood_with_what_comes(config):
    """Distances between codes carry over to tables and heads; sizes, and what stands for "no frame", stay."""
    rng, c = np.random.default_rng(0), config.dynamics
    books = Codebooks(*(rng.normal(2, 1, (n, 5)).astype(np.float32) for n in (c.video_codes, c.audio_codes)))
    fresh = nn.unbox(boxed := init_dynamics(config, jax.random.key(0)))
    begun = nn.unbox(begin_as_codes(boxed, books, jax.random.key(1)))
    assert jax.tree.map(jnp.shape, begun) == jax.tree.map(jnp.shape, fresh)
    distances = lambda x: np.linalg.norm(x[:, None] - x[None], axis=-1)
    ratio = lambda x, y: np.divide(x, y, where=~np.eye(len(x), dtype=bool), out=np.full(x.shape, np.nan))
    for modality, book in zip(Codebooks._fields, books):
        tables = lambda p, m=modality, n=len(book): (
            np.asarray(p[f"{m}_embed"]["embedding"]),
            np.asarray(p[f"{m}_before"]["embedding"])[:n],
            np.asarray(p[f"{m}_head"]["kernel"]).T,
        )
        for new, old in zip(tables(begun), tables(fresh)):
            spread = ratio(distances(new), distances(book))
            assert np.nanstd(spread) < 1e-3 * np.nanmean(spread)
            np.testing.assert_allclose((new**2).sum(-1).mean(), (old**2).sum(-1).mean(), rtol=0.02)
        _, before, head = tables(begun)
        alike = (book - book.mean(0)) @ (book - book.mean(0)).T
        assert np.corrcoef((before @ head.T).ravel(), alike.ravel())[0, 1] > 0.999
        last = lambda p, m=modality: p[f"{m}_before"]["embedding"][-1]
        np.testing.assert_array_equal(last(begun), last(fresh))
    same = {
        k
        for k in fresh
        if all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(fresh[k]), jax.tree.leaves(begun[k])))
    }
    assert same == fresh.keys() - {f"{m}_{part}" for m in Codebooks._fields for part in ("embed", "before", "head")}

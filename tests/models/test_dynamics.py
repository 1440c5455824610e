"""What a prediction may depend on: its frame's given tokens, what led to it, its prompt, the past; and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.config import MOVED, DynamicsConfig
from oyster_jax.models.dynamics import Steered, frames_before, frames_stood, leading_action
from oyster_jax.models.grid import AROUND, next_door
from oyster_jax.sampling.rollout import remember
from oyster_jax.training.tasks.dynamics import two_streams
from oyster_jax.types import TokenFrame

FRAMES, CHANGED = 12, 4


@pytest.fixture(scope="module")
def logits(world):
    """Logits of every token with every token hidden, or (`given`) with the other modality given."""

    @jax.jit
    def run(tokens, masked, action, prompt_id, prompt):
        batch = {"action": action, "prompt_id": prompt_id, "prompt": prompt}
        return two_streams(world.config, world.params["dynamics"], batch, tokens, masked)

    return run


@pytest.fixture(scope="module")
def inputs(config, clip):
    """Random tokens, all of them hidden, and a clip's conditions."""
    rng, c = np.random.default_rng(5), config.dynamics
    tokens = TokenFrame(
        jnp.asarray(rng.integers(0, c.video_codes, (3, FRAMES, c.video_tokens)), jnp.int32),
        jnp.asarray(rng.integers(0, c.audio_codes, (3, FRAMES, c.audio_tokens)), jnp.int32),
    )
    return dict(
        tokens=tokens,
        masked=jax.tree.map(lambda x: jnp.ones(x.shape, bool), tokens),
        action=clip.action,
        prompt_id=clip.prompt_id,
        prompt=clip.prompt,
    )


def moved(logits, a, b):
    """By how much each frame's logits move, in both modalities: float [T] each."""
    difference = jax.tree.map(lambda x, y: jnp.abs(x - y).max(axis=(0, 2, 3)), logits(**a), logits(**b))
    return np.asarray(difference.video), np.asarray(difference.audio)


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_hidden_tokens_move_only_later_frames_of_both_streams(logits, inputs, config, modality):
    """Picture and sound of frame t move picture and sound of t+1 .. t+reach, and nothing else."""
    x, changed = getattr(inputs["tokens"], modality), 1  # so that there are frames beyond its reach
    tokens = inputs["tokens"]._replace(**{modality: x.at[:, changed].set(x[:, changed] // 2)})
    t = config.dynamics.transformer
    last = changed + t.layers * (t.window - 1) + 1  # of a committed frame the tokens before it are told, too
    counted = last + config.dynamics.look_back - 1  # and for how long they have stood, of random tokens: never long
    assert counted + 1 < FRAMES
    for frames in moved(logits, inputs, inputs | {"tokens": tokens}):
        assert (frames[: changed + 1] == 0).all()
        assert (frames[changed + 1 : last + 1] > 1e-4).all()
        assert (frames[counted + 1 :] == 0).all()


@pytest.mark.parametrize("given", ["video", "audio"])
def test_given_tokens_move_their_own_frame(logits, inputs, given):
    """One joint sequence: a given picture tells the sound of its frame, and the other way round."""
    shown = getattr(inputs["masked"], given).at[:, CHANGED].set(False)
    before = inputs | {"masked": inputs["masked"]._replace(**{given: shown})}
    x = getattr(inputs["tokens"], given)
    after = before | {"tokens": inputs["tokens"]._replace(**{given: x.at[:, CHANGED].set(x[:, CHANGED] // 2)})}
    for frames in moved(logits, before, after):
        assert (frames[:CHANGED] == 0).all() and frames[CHANGED] > 1e-2


def test_an_action_moves_the_frames_after_it(logits, inputs):
    """action[t] is chosen on seeing frame t: frame t cannot know it, frame t+1 is made by it."""
    action = inputs["action"]
    other = (action[:, CHANGED] + 1) % jnp.array([3, 2])
    for frames in moved(logits, inputs, inputs | {"action": action.at[:, CHANGED].set(other)}):
        assert (frames[: CHANGED + 1] == 0).all() and frames[CHANGED + 1] > 1e-2


def test_a_prompt_moves_its_own_frame_and_later_ones(logits, inputs):
    changed = inputs["prompt_id"].at[:, CHANGED].set(1 - inputs["prompt_id"][:, CHANGED])
    for frames in moved(logits, inputs, inputs | {"prompt_id": changed}):
        assert (frames[:CHANGED] == 0).all()
        assert (frames[CHANGED : CHANGED + 2] > 1e-3).all()  # the past keeps the prompt that it was made under


def test_a_frame_carries_the_action_that_led_to_it():
    action = jnp.arange(8).reshape(1, 4, 2)
    np.testing.assert_array_equal(leading_action(action)[0], [[-1, -1], [0, 1], [2, 3], [4, 5]])


@pytest.mark.parametrize("look_back", [2, 5])
def test_what_a_rollout_remembers_is_what_training_tells(inputs, look_back):
    """The last frames' tokens, the nearest first; -1 where there was none."""
    tokens = inputs["tokens"]
    before = frames_before(tokens, look_back)
    for x, told in zip(tokens, before):
        kept = jnp.full((len(x), look_back, x.shape[2]), -1)
        for t in range(x.shape[1]):
            np.testing.assert_array_equal(kept, told[:, t])
            kept = remember(kept, x[:, t : t + 1])
        np.testing.assert_array_equal(kept, x[:, : -look_back - 1 : -1])
        np.testing.assert_array_equal(remember(jnp.full_like(kept, -1), x), kept)


def test_how_long_a_token_has_stood():
    """Counted from the frame before backwards, as far as is looked back, which is also what is said where there is
    nothing to see further back; 0 where there was no frame at all."""
    tokens = jnp.array([7, 7, 5, 5, 5, 5, 7, 5])[None, :, None]
    stood = frames_stood(frames_before(TokenFrame(tokens, tokens), 3).video)
    np.testing.assert_array_equal(stood[0, :, 0], [0, 3, 3, 1, 2, 3, 3, 1])


@pytest.mark.parametrize("modality", [0, 1])
def test_a_frame_hears_how_long_a_token_has_stood(world, inputs, modality):
    """What is learnt of two frames is told where something has stood for two, and nowhere else, and of sounds too."""
    name, table = TokenFrame._fields[modality], world.params["dynamics"]["stood"]
    batch = {n: inputs[n] for n in ("action", "prompt_id", "prompt")}

    def seen(past, table):
        x = getattr(inputs["tokens"], name).at[:, :CHANGED].set(jnp.array(past)[:, None])
        tokens, params = inputs["tokens"]._replace(**{name: x}), world.params["dynamics"] | {"stood": table}
        return two_streams(world.config, params, batch, tokens, inputs["masked"]).video[:, : CHANGED + 1]

    other = table.at[modality, 2].add(jnp.arange(table.shape[-1]))
    once, twice = (
        np.abs(seen(past, other) - seen(past, table)).max((0, 2, 3)) for past in ([0, 1, 2, 3], [0, 1, 2, 2])
    )
    assert (once == 0).all()
    assert (twice[:CHANGED] == 0).all() and twice[CHANGED] > 1e-3


def test_a_hidden_token_knows_what_stood_next_door_two_frames_before(world, inputs):
    """And of nothing further away."""
    c = world.config.dynamics
    steered = lambda before: Steered(c).apply({"params": world.params["dynamics"]["steered"]}, before, action)
    before = frames_before(inputs["tokens"], c.look_back).video
    action = jnp.ones((*before.shape[:2], 1, c.transformer.width))
    place = 0  # in a corner of three columns: the third is further away
    other = before.at[:, :, 1, place].set((before[:, :, 1, place] + 1) % c.video_codes)
    moved = np.abs(np.asarray(steered(other) - steered(before)))[:, MOVED:].max((0, 1, 3))
    y, x = np.divmod(np.arange(c.video_tokens), c.video_columns)
    near = (np.abs(y - place // c.video_columns) <= 1) & (np.abs(x - place % c.video_columns) <= 1)
    near[c.video_tokens - c.video_shared :] = False  # what patches share is nowhere
    assert (moved[near] > 1e-3).all() and (moved[~near] == 0).all()


def test_next_door_is_what_lies_around_in_the_grid():
    """And around a token that has no place in it is nothing."""
    grid = jnp.arange(26).reshape(1, 1, 13, 2) // 2  # three rows of four and one more, of two features each
    c = DynamicsConfig(video_tokens=13, video_columns=4, video_shared=1)
    around, same = np.moveaxis(np.asarray(next_door(grid, c, -1))[0, 0], -1, 0)
    np.testing.assert_array_equal(around, same)
    assert around[5].tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]
    assert around[0].tolist() == [-1, -1, -1, -1, 0, 1, -1, 4, 5]
    assert around[11].tolist() == [6, 7, -1, 10, 11, -1, -1, -1, -1]
    assert around[12].tolist() == [-1, -1, -1, -1, 12, -1, -1, -1, -1]


@pytest.mark.parametrize("source", range(AROUND))
def test_each_source_lifts_the_code_that_stood_there(world, inputs, source):
    """In the first frame nothing stood anywhere: there it lifts none."""
    dynamics = world.params["dynamics"]
    bias = dynamics["video_source"]["bias"].at[source].add(1.0)
    params = dynamics | {"video_source": dynamics["video_source"] | {"bias": bias}}
    run = jax.jit(lambda p: two_streams(world.config, p, inputs, inputs["tokens"], inputs["masked"]).video)
    lifted = np.asarray(run(params) - run(dynamics))
    c = world.config.dynamics
    stood = np.asarray(next_door(inputs["tokens"].video[:, :-1, :, None], c, -1))[..., source, 0]
    expected = np.pad(np.eye(c.video_codes + 1)[stood][..., :-1], ((0, 0), (1, 0), (0, 0), (0, 0)))
    np.testing.assert_allclose(lifted, expected, atol=1e-4)

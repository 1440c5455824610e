"""The reef's recordings: what is on disk is what the simulator does, frame by frame."""

import jax
import numpy as np
import pytest

from oyster_jax.data.sources import SourceOptions, make_source
from oyster_jax.data.sources.reef import EPISODE_FRAMES, SCENES_OF, _clip, _start, fresh_key, play
from oyster_jax.errors import OysterError
from oyster_jax.sims import reef
from oyster_jax.sims.reef_map import FREE, SAMPLES, TILE

CAPTIONS = {reef.caption(scene): scene for scene in reef.ALL_SCENES}
SEED = 7


@pytest.fixture(scope="module")
def source():
    return make_source("reef", SourceOptions(seed=SEED))


@pytest.fixture(scope="module")
def episodes(source):
    return [next(source.episode(i, EPISODE_FRAMES)) for i in range(4)]


def test_clips_join_into_the_episode(source, episodes):
    clips = list(source.episode(1, 100))
    assert [len(c.video) for c in clips] == [100, 100, 56]
    whole = episodes[1]
    for name in ("video", "audio", "action"):
        np.testing.assert_array_equal(np.concatenate([getattr(c, name) for c in clips]), getattr(whole, name))
    prompts = [c.prompts[i] for c in clips for i in c.prompt_id]
    assert prompts == [whole.prompts[i] for i in whole.prompt_id]
    assert whole.video.dtype == np.uint8 and whole.audio.dtype == np.float32 and whole.action.dtype == np.int32
    assert np.abs(whole.audio).max() <= 1
    source.actions.check(whole.action)


def test_fresh_episodes_are_none_that_a_recording_has():
    """`split` and `fold_in` may give the same keys: of one root, a fresh episode would be the next one recorded."""
    numbers = lambda keys: {tuple(key) for key in np.asarray(jax.random.key_data(keys)).reshape(-1, 2).tolist()}
    recorded = numbers(jax.vmap(lambda i: jax.random.fold_in(jax.random.key(SEED), i))(np.arange(5000)))
    assert not numbers(jax.random.split(fresh_key(SEED), 5000)) & recorded


def test_seed_and_index_decide_everything(episodes):
    again = next(make_source("reef", SourceOptions(seed=SEED)).episode(1, EPISODE_FRAMES))
    np.testing.assert_array_equal(again.video, episodes[1].video)
    np.testing.assert_array_equal(again.audio, episodes[1].audio)
    other = next(make_source("reef", SourceOptions(seed=SEED + 1)).episode(1, EPISODE_FRAMES))
    assert not np.array_equal(other.action, episodes[1].action)
    assert not np.array_equal(episodes[0].action, episodes[1].action)


def test_recordings_equal_stepping_by_hand(episodes):
    """Frame t is drawn under prompts[prompt_id[t]], and after action[t-1]: any shift by one frame fails."""
    clip = next(e for e in episodes if len(e.prompts) > 1)
    index = next(i for i, e in enumerate(episodes) if e is clip)
    scenes = np.array([CAPTIONS[clip.prompts[i]] for i in clip.prompt_id], np.int32)
    frames = min(EPISODE_FRAMES, int(np.flatnonzero(np.diff(clip.prompt_id))[0]) + 8)
    start_key, _ = jax.random.split(jax.random.fold_in(jax.random.key(SEED), index))
    step = jax.jit(lambda state, scene, action: reef.step(reef.set_scene(state, scene), action))
    state = jax.jit(_start)(start_key)
    obs = jax.jit(reef.observe)(state)
    for t in range(frames):
        np.testing.assert_array_equal(state.body, clip.truth["body"][t])
        np.testing.assert_array_equal(state.creature, clip.truth["creature"][t])
        assert np.abs(np.asarray(obs.video, int) - clip.video[t]).max() <= 1  # rounding, in differently fused programs
        np.testing.assert_allclose(obs.audio, clip.audio[t], atol=1e-5)
        if t + 1 < frames:
            state, obs = step(state, reef.Scene(*scenes[t + 1]), clip.action[t])


def test_much_happens(episodes):
    events = np.concatenate([e.truth["events"] for e in episodes])
    assert events.shape[1] == len(reef.EVENTS) and events.min() == -1 and events.max() < SAMPLES
    assert min((events >= 0).sum(axis=0)) >= len(episodes) * 3
    actions = np.concatenate([e.action for e in episodes])
    assert [len(np.unique(a)) for a in actions.T] == list(reef.ACTIONS.sizes)
    assert sum(len(e.prompts) for e in episodes) > len(episodes)
    for e in episodes:
        chime = [t * SAMPLES + s for t, s in enumerate(e.truth["events"][:, 1]) if s >= 0]
        assert np.all(np.diff(chime) >= 8 * SAMPLES)  # never struck while it still rings
        for where in ("body", "creature"):
            x, y = e.truth[where].T // TILE
            assert FREE[y, x].all()


def test_random_share(source):
    policies = make_source("reef", SourceOptions(policy="random"))
    assert next(policies.episode(0, 64)).truth["random"].all()
    share = np.mean([next(source.episode(i, EPISODE_FRAMES)).truth["random"].mean() for i in range(24)])
    assert 0.3 < share < 0.5


def test_the_restless_turn_more_often_and_see_more_scenes():
    def lively(policy):
        source = make_source("reef", SourceOptions(policy=policy, random_share=1.0))
        clips = [next(source.episode(i, EPISODE_FRAMES)) for i in range(8)]
        heading = np.stack([clip.action[:, reef.HEADING] for clip in clips])
        return np.mean(heading[:, 1:] != heading[:, :-1]), np.mean([len(clip.prompts) for clip in clips])

    (turns, scenes), (restless_turns, restless_scenes) = lively("wander"), lively("restless")
    assert restless_turns > 1.3 * turns and restless_scenes > 1.5 * scenes


def test_captions_of_the_restless_leave_things_out_which_then_stay_what_they_were():
    keys, both = jax.random.split(jax.random.key(0), 8), SCENES_OF["both"]
    full = total = 0
    for played in (jax.device_get(play(key, 0.5, scenes=both, restless=True)) for key in keys):
        clip, scenes = _clip(played), np.stack(played.state.scene, axis=1)
        assert not {tuple(s) for s in scenes} & {tuple(s) for s in reef.HELD_OUT}
        for t, prompt in enumerate(np.array(clip.prompts)[clip.prompt_id]):
            said = np.array(reef.scene_of(prompt))
            begins = t == 0 or clip.prompt_id[t] != clip.prompt_id[t - 1]
            before = scenes[t - 1] if t else scenes[0]
            np.testing.assert_array_equal(scenes[t], np.where(said < 0, before, said))
            full, total = full + (begins and said.min() >= 0), total + begins
            assert said.min() >= 0 or said[:3].min() < 0, "time, weather and water together are told with the creature"
    assert 0.1 < full / total < 0.45


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("reef", SourceOptions(size=128), "size 64"),
        ("reef", SourceOptions(fps="30"), "fps 15"),
        ("reef", SourceOptions(fps="fast"), "fps 15"),
        ("reef", SourceOptions(sample_rate=16_000), "sample_rate 15360"),
        ("reef", SourceOptions(policy="clever"), "clever"),
        ("reef:deep", SourceOptions(), "deep"),
    ],
)
def test_what_it_cannot_do(name, options, message):
    with pytest.raises(OysterError, match=message):
        make_source(name, options)


def test_its_own_sizes_may_be_named():
    make_source("reef", SourceOptions(size=64, fps="15", sample_rate=15_360))

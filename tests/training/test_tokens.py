"""The token cache holds what the tokenizers say of each clip and each cold window, with those frames' actions."""

import dataclasses

import jax
import numpy as np
import pytest

from oyster_jax.config_experiment import StageConfig, TrainConfig
from oyster_jax.data.pipeline import WindowOptions, open_clips, windows
from oyster_jax.data.recorder import record
from oyster_jax.sampling.rollout import tokenize
from oyster_jax.training.tokens import TokenCacheOptions, cache_tokens, seen_codes, spans, token_arrays
from oyster_jax.types import Clip

TRAIN = TrainConfig(dynamics=StageConfig(frames=6), cold_share=0.4)


@pytest.fixture(scope="module")
def cached(tmp_path_factory, world, echo):
    """(data reader, folder of its tokens, options)."""
    folder = tmp_path_factory.mktemp("tokens")
    record(echo(), folder / "data", frames=120, clip_frames=16)
    reader = open_clips(folder / "data")
    return reader, *cache_tokens(world, reader, folder / "cache", TRAIN, seed=5)


def padded(x):
    """A batch of one, always of 16 frames: one shape to compile."""
    return np.pad(x, [(0, 16 - len(x))] + [(0, 0)] * (x.ndim - 1))[None]


def test_tokens_and_actions_are_those_of_the_same_frames(world, cached):
    """A cold window is encoded from its own first frame on, as the world would if it began there."""
    reader, folder, options = cached
    tokens, entry, flips, cold = open_clips(folder), 0, [], 0
    run = jax.jit(tokenize)
    for i in range(len(reader)):
        meta, arrays = reader[i]
        for start, length in spans(int(reader.frames[i]), options, np.random.default_rng([5, i])):
            span = {k: v[start : start + length] for k, v in arrays.items()}
            sound = span["audio"].astype(np.float32) / 32767
            expected, _ = run(world, Clip(*map(padded, (span["video"], sound, span["action"])), None, None))
            stored_meta, stored = tokens[entry]
            np.testing.assert_array_equal(stored["action"], span["action"])
            np.testing.assert_array_equal(stored["prompt_id"], span["prompt_id"])
            assert stored_meta == meta
            # Codes may flip at ties between two programs; frames may not.
            flips.append(np.mean(stored["video_tokens"] != expected.video[0, :length]))
            flips.append(np.mean(stored["audio_tokens"] != expected.audio[0, :length]))
            entry, cold = entry + 1, cold + (start > 0)
    assert entry == len(tokens) and cold > 3 and np.mean(flips) < 0.01


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_the_share_of_cold_windows_is_what_was_asked_for(share):
    options, frames = TokenCacheOptions(16, share, seed=0, keep_media=False), 128
    whole, cold = 0, []
    for i in range(400):
        first, *others = spans(frames, options, np.random.default_rng(i))
        assert first == (0, frames)
        whole, cold = whole + frames / 16, cold + others
    assert all(n == 16 and 1 <= start <= frames - 16 for start, n in cold)
    assert len(cold) / (len(cold) + whole) == pytest.approx(share, abs=0.02)


def test_a_batch_of_tokens_is_ready_for_the_dynamics(cached, config):
    _, folder, options = cached
    reader = open_clips(folder)
    wanted = WindowOptions(frames=6, batch=3, arrays=token_arrays(options))
    batch = next(iter(windows(reader, reader.split("train"), wanted)))
    assert batch["video_tokens"].shape == (3, 6, config.video_tokenizer.tokens)
    assert batch["audio_tokens"].shape == (3, 6, config.audio_tokenizer.tokens)
    assert set(batch) == {"video_tokens", "audio_tokens", "action", "prompt", "prompt_id"}


def test_seen_codes_are_those_of_the_training_clips(cached, config):
    tokens = open_clips(cached[1])
    seen = seen_codes(tokens, config.dynamics)
    shown = lambda split: np.concatenate([tokens[i][1]["video_tokens"] for i in tokens.split(split)])
    places = [{*codes.tolist()} for codes in shown("train").T]
    assert [{*np.flatnonzero(row).tolist()} for row in seen] == places
    assert not seen.all() and len(shown("held_out"))


def test_a_whole_cache_is_kept_and_another_worlds_is_not_read(cached, world, tmp_path, monkeypatch):
    reader, folder, _ = cached
    never = lambda *_: pytest.fail("encoded again")
    monkeypatch.setattr("oyster_jax.training.tokens._encode", never)
    assert cache_tokens(world, reader, folder.parent, TRAIN, seed=5)[0] == folder
    from oyster_jax.training.tokens import fingerprint

    options = cached[2]
    params = world.params | {"audio_tokenizer": jax.tree.map(lambda x: x * 1.01, world.params["audio_tokenizer"])}
    names = {
        fingerprint(world, reader, options),
        fingerprint(dataclasses.replace(world, params=params), reader, options),
        fingerprint(world, reader, dataclasses.replace(options, cold_share=0.1)),
    }
    assert len(names) == 3

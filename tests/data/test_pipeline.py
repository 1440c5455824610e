"""From the recorder to a training batch: frames keep the action, the prompt and the episode that they were made by."""

import jax.numpy as jnp
import numpy as np
import pytest

from oyster_jax.data.pipeline import WindowOptions, open_clips, windows, without_padding
from oyster_jax.errors import OysterError
from oyster_jax.models.dynamics import leading_action

OPTIONS = WindowOptions(frames=6, batch=4, seed=1)


@pytest.fixture(scope="module")
def reader(data_folder):
    return open_clips(data_folder)


def take(data, count):
    iterator = iter(data)
    return [next(iterator) for _ in range(count)]


@pytest.fixture(scope="module")
def batch(reader):
    """32 windows."""
    parts = take(windows(reader, reader.split("all"), OPTIONS), 8)
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}


def test_every_frame_follows_from_the_action_it_carries(batch, told):
    """The classic bug of this field: shifted by one either way, the colours no longer fit."""
    made_by = told(batch["video"])[0]
    carried = np.asarray(leading_action(jnp.asarray(batch["action"])))
    np.testing.assert_array_equal(made_by[:, 1:], carried[:, 1:])
    assert (carried[:, 0] == -1).all()  # the past of a window is unknown
    late = np.roll(carried, 1, axis=1)
    assert (made_by[:, 2:] != late[:, 2:]).any() and (made_by[:, 1:] != batch["action"][:, 1:]).any()


def test_windows_never_cross_the_end_of_an_episode(batch, told):
    _, episode, t, _ = told(batch["video"])
    assert (episode == episode[:, :1]).all() and (np.diff(t.astype(int), axis=1) == 1).all()
    np.testing.assert_allclose(batch["audio"], np.broadcast_to(t[..., None] / 100, batch["audio"].shape), atol=1e-4)
    assert len(np.unique(episode)) > 6 and len(np.unique(t[:, 0])) > 6


def test_every_frame_keeps_its_prompt(batch, told):
    _, episode, _, scene = told(batch["video"])
    for i, row in enumerate(batch["prompt_id"]):
        prompts = [bytes(batch["prompt"][i, j]).rstrip(b"\0").decode() for j in row]
        assert prompts == [f"episode {e} scene {s}" for e, s in zip(episode[i], scene[i])]
    assert batch["prompt_id"].max() == 1 and batch["prompt_id"].dtype == np.int32


def test_padding_of_prompts_is_left_out(batch):
    wide = batch | {"prompt": np.pad(batch["prompt"], ((0, 0), (0, 10), (0, 0)))}
    small = without_padding(wide)
    assert small["prompt"].shape == (len(batch["prompt"]), 4, 128)
    told = [np.pad(b["prompt"], ((0, 0), (0, 0), (0, 256 - b["prompt"].shape[2]))) for b in (wide, small)]
    own = [np.take_along_axis(t, batch["prompt_id"][..., None], axis=1) for t in told]
    np.testing.assert_array_equal(*own)
    long = wide | {"prompt": wide["prompt"].copy(), "prompt_id": np.full_like(wide["prompt_id"], 4)}
    long["prompt"][0, 4, :129] = 97
    assert without_padding(long)["prompt"].shape[1:] == (8, 256)


def test_held_out_episodes_are_never_trained_on(reader):
    train, held_out = (set(reader.episodes[reader.split(name)]) for name in ("train", "held_out"))
    assert held_out == {9} and train == set(range(12)) - {9}


def test_a_saved_iterator_goes_on_with_the_very_next_batch(reader):
    data = windows(reader, reader.split("train"), OPTIONS)
    iterator = iter(data)
    first = [next(iterator) for _ in range(3)]
    state = iterator.get_state()
    after = [next(iterator) for _ in range(2)]
    again = iter(data)
    again.set_state(state)
    for expected in after:
        got = next(again)
        assert all(np.array_equal(got[k], expected[k]) for k in expected)
    assert not np.array_equal(first[2]["video"], after[0]["video"])


def test_the_seed_decides_the_order(reader):
    of = lambda seed: take(windows(reader, reader.split("train"), WindowOptions(6, 4, seed)), 2)[1]["video"]
    np.testing.assert_array_equal(of(1), of(1))
    assert not np.array_equal(of(1), of(2))


def test_processes_share_the_clips_without_overlap(reader, told):
    """Each clip as long as the window is drawn once in an epoch, by one process."""
    options = WindowOptions(frames=16, batch=1, repeat=False)
    seen = []
    for process in range(3):
        parts = list(windows(reader, reader.split("all"), options, process, processes=3))
        seen.append({(int(e[0, 0]), int(t[0, 0])) for _, e, t, _ in (told(p["video"]) for p in parts)})
        assert len(seen[-1]) == len(parts)
    assert set.union(*seen) == {(e, t) for e in range(12) for t in (0, 16)}
    assert sum(map(len, seen)) == 24


def test_loud_windows_are_preferred(reader):
    """The level of a frame is its number: the loudest window of a clip begins late."""
    begins = lambda loud: np.mean(
        [b["audio"][:, 0, 0] for b in take(windows(reader, reader.split("all"), WindowOptions(6, 8, 0, loud)), 4)]
    )
    assert begins(1.0) > begins(0.0) + 0.02


def test_windows_around_changes_of_prompt_are_preferred(reader):
    """Two frames with a change between them, where a clip has any."""
    both = lambda events: np.mean(
        [
            (b["prompt_id"][:, 0] != b["prompt_id"][:, 1]).mean()
            for b in take(windows(reader, reader.split("all"), WindowOptions(2, 8, events=events)), 16)
        ]
    )
    assert both(1.0) > 2 * both(0.0) > 0


def test_a_window_longer_than_every_clip_is_refused(reader):
    with pytest.raises(OysterError, match="17 frames"):
        windows(reader, reader.split("all"), WindowOptions(frames=17, batch=1))

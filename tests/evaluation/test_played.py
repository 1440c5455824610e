"""Who sees only frames plays as who reads the console's memory does."""

import itertools

import numpy as np
import pytest

from oyster_jax.data.sources import SourceOptions
from oyster_jax.data.sources.ale_player import FIELDS, Player
from oyster_jax.evaluation.ball_games import COURTS
from oyster_jax.evaluation.played import learn_sight, read_memory

ale = pytest.importorskip("oyster_jax.data.sources.ale")


@pytest.fixture(scope="module", params=["ale:breakout", "ale:pong"])
def game(request):
    """A field, and of a recording of it the frames and the memory, and what is learnt from the first half of them."""
    source = ale.make(request.param[4:], SourceOptions(random_share=0.0))
    clips = list(itertools.islice(source.episode(0, 200), 4))
    video, memory = (np.concatenate(x) for x in ([c.video for c in clips], [c.truth["ram"] for c in clips]))
    field, half, background = FIELDS[request.param], len(video) // 2, np.median(video, axis=0)
    sight = learn_sight([video[:half]], [memory[:half]], background, COURTS[request.param], field)
    return field, video[half:], memory[half:], sight


def test_memory_is_read_off_frames(game):
    field, video, memory, sight = game
    read = [np.zeros(128, np.uint8)] * 2
    for frame in video:
        read.append(read_memory(sight, frame, (read[-1], read[-2])))
    read = np.stack(read[2:]).astype(float)
    seen = read[:, field.along] > 0
    assert seen.mean() > 0.4
    error = np.abs(read - memory)
    assert np.median(error[seen, field.along]) < 2 and np.median(error[seen, field.across]) < 2
    assert np.median(error[:, field.knob]) < 6  # it runs ahead of the paddle


def test_who_sees_frames_meets_the_ball(game):
    field, _, _, sight = game
    name = next(n for n, f in FIELDS.items() if f is field)
    source = ale.make(name[4:], SourceOptions())
    # Lives left, and the opponent's points (Anand et al. 2019, arXiv 1906.08226).
    lost = {"ale:breakout": lambda memory: 5 - int(memory[57]), "ale:pong": lambda memory: int(memory[13])}[name]

    def balls_lost(who, sees: bool) -> int:
        """In three times 400 frames, or fewer where a game is over."""
        return sum(balls_lost_once(Player(who, source.actions.size, 0.0), sees, seed) for seed in range(3))

    def balls_lost_once(player, sees, seed):
        console, rng = source._console(seed), np.random.default_rng(seed)
        codes, most = console.getMinimalActionSet(), 0
        action, read = 0, [np.zeros(128, np.uint8)] * 2
        for _ in range(400):
            screen, _, memory = ale._step(console, codes[action])
            if console.game_over():
                break
            read.append(read_memory(sight, source._downscale(screen), (read[-1], read[-2])) if sees else memory)
            action = player(read[-1], action, rng)
            most = lost(memory)
        return most

    by_sight, by_memory, by_chance = balls_lost(field, True), balls_lost(field, False), balls_lost(None, False)
    assert by_sight < 0.6 * by_chance, (by_sight, by_memory, by_chance)


def test_what_is_not_seen_is_not_made_up(game):
    field, _, _, sight = game
    before = np.full(128, 77, np.uint8)
    memory = read_memory(sight, sight.background.astype(np.uint8), (before, before))
    assert memory[field.along] == memory[field.across] == 0
    assert memory[field.knob] == 77
    empty = np.zeros((8, 64, 64, 3), np.uint8)
    assert learn_sight([empty], [np.zeros((8, 128), np.uint8)], empty[0], sight.regions, field) is None

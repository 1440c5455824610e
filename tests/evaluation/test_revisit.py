"""Coming back, where it is known what is found: the simulator itself, a world that stayed away, one that forgot all."""

import jax
import numpy as np
import pytest

import oyster_jax as oyster
from oyster_jax.evaluation import revisit
from oyster_jax.sims import reef


@pytest.fixture(scope="module")
def trips():
    return revisit.make_trips(jax.random.key(0), 6, 8)


def test_trips_lead_away_and_back(trips):
    corners = np.array([[reef.camera(body) for body in bodies] for bodies in trips.played.state.body[:, ::1]])
    away = corners[:, trips.context + revisit.TILES_AWAY : trips.home - revisit.TILES_AWAY]
    home, gone = corners[:, trips.context - 1], np.abs(away - corners[:, :1]).max(-1)
    np.testing.assert_array_equal(corners[:, trips.home], home)
    assert gone.min() >= 48 and away.shape[1] >= revisit.AWAY - 1


def test_the_simulator_finds_what_was_there_and_who_stays_away_does_not(trips):
    home = trips.played.video[:, trips.home]
    told = revisit.compare(trips, home, home)
    assert told["world"]["mean"] == told["tokenizer"]["mean"] == 100
    assert told["away"]["high"] < 30 and told["pixels_compared"] > 0.7
    blank = revisit.compare(trips, np.full_like(home, 128), home)
    assert blank["world"]["high"] < 20 and blank["tokenizer"]["mean"] == 100


def test_the_shipped_world_goes_and_comes_back(monkeypatch):
    monkeypatch.setattr(revisit, "AWAY", 4)
    told, rows = revisit.revisit(oyster.load("reef"), worlds=2)
    assert all(frames.shape == (2, 64, 64, 3) for frames in rows.values())
    assert np.abs(rows["out there"].astype(int) - rows["before leaving"]).mean() > 1
    assert told["seconds_away"] == pytest.approx(4 / 15)
    assert told["tokenizer"]["mean"] > told["world"]["mean"] > 5

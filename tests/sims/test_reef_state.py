"""Actions and scenes of the reef are what their names say."""

import colorsys

import jax
import numpy as np
import pytest

from oyster_jax.errors import OysterError
from oyster_jax.sims import reef
from oyster_jax.sims.reef_draw import _LAMP
from oyster_jax.sims.reef_state import MOVES


def test_headings_and_lights_are_what_their_names_say():
    heading, _, light, *_ = reef.ACTIONS.factors
    ways = {"N": (0, -1), "S": (0, 1), "E": (1, 0), "W": (-1, 0)}
    for name, move in zip(heading.labels, MOVES):
        assert tuple(move) == ((0, 0) if name == "stay" else tuple(np.sum([ways[c] for c in name], axis=0))), name
    hue = lambda name: colorsys.rgb_to_hsv(*np.ravel(_LAMP[light.labels.index(name)]).tolist())
    hues = [hue(name)[0] for name in light.labels[2:]]  # red comes first, at 0
    assert hues == sorted(hues) and hues[0] < 0.03 and 0.3 < hue("green")[0] < 0.4 and 0.55 < hue("blue")[0] < 0.7
    assert hue("off")[2] < 0.3 and hue("white")[1] < 0.2


def test_every_scene_has_its_own_caption():
    scenes = reef.ALL_SCENES
    assert len({reef.caption(s) for s in scenes}) == len(scenes) == 144
    assert reef.caption(reef.Scene(2, 1, 1, 2)) == "a bay at night in the rain, green water, a jellyfish"
    assert reef.caption(reef.Scene(0, 0, 0, 0, reef.OPEN)).startswith("an open reef by day")
    assert all(reef.scene_of(reef.caption(s)) == s for s in scenes)
    assert reef.caption(reef.Scene(2, 1, 1, 2), (True, False, False, True)) == "a bay at night, a jellyfish"
    assert reef.caption(reef.Scene(2, 1, 1, 2), (False, True, True, False)) == "a bay in the rain, green water"
    assert reef.scene_of("a bay in the rain, green water") == reef.Scene(-1, 1, 1, -1, reef.BAY)
    assert reef.scene_of("an open reef") == reef.Scene(-1, -1, -1, -1, reef.OPEN)
    with pytest.raises(OysterError, match="no scene 'a desert'"):
        reef.scene_of("a desert")


def test_held_out_scenes_are_never_drawn_and_hold_out_no_choice():
    keys = jax.random.split(jax.random.key(0), 500)
    drawn = set(zip(*(np.asarray(x).tolist() for x in jax.vmap(reef.random_scene)(keys))))
    assert drawn == set(reef.at(reef.BAY, reef.SEEN)) and not drawn & set(reef.HELD_OUT)
    assert 18 <= len(reef.HELD_OUT) <= 30
    for place, choices in enumerate(reef.SCENES):
        seen = [sum(s[place] == i for s in reef.SEEN) for i in range(len(choices))]
        assert min(seen) > len(reef.SEEN) / len(choices) / 2

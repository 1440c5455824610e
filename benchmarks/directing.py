"""Do prompts and images direct a world of the reef? One JSON line, and a sheet to look at.

    python benchmarks/directing.py --world=reef --out=runs/reef/directing.png [--place=open]

Every scene of one place of the simulator is asked for by its caption, from nothing and as an event after two seconds;
what the generated frames show is read as `oyster_jax.evaluation.reef_sight` does, for captions that were recorded and
for those that never were (held out). Images to begin with come from the simulator; one of them is continued under two
prompts.
"""

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import oyster_jax as oyster
from oyster_jax.evaluation import plots, reef_sight
from oyster_jax.evaluation.metrics import psnr
from oyster_jax.evaluation.reef_episodes import scene_prompts
from oyster_jax.sampling.script import world_actions
from oyster_jax.sims import reef

flags.DEFINE_string("world", "reef", "a world trained on the reef")
flags.DEFINE_string("out", "directing.png", "contact sheet to write")
flags.DEFINE_enum("place", "bay", reef.PLACES, "which scenes are asked for")
flags.DEFINE_float("prompt_guidance", None, "guidance on prompts (default: the world's)")
flags.DEFINE_integer("seed", 0, "seed")

FRAMES = 30  # under the first prompt, and again under the second


def right(frames: np.ndarray, asked: list[reef.Scene]) -> dict:
    """The share of frames [scenes, H, W, 3] that show what is asked for, attribute by attribute and all at once, of
    captions that were recorded and of those that never were. A creature that cannot be found is not right."""
    wanted, held_out = np.array(asked), np.array([scene in reef.HELD_OUT for scene in asked])
    shown = reef_sight.scenery(frames)
    creature = reef_sight.find(frames, reef_sight.creatures(), shown[:, 0])
    shown = np.column_stack([shown, np.where(creature.seen, creature.look, -1)])
    hit = shown == wanted[:, :4]
    hits = dict(zip(reef.ATTRIBUTES, hit.T)) | {"all": hit.all(1)}
    share = lambda part: {name: round(float(of[part].mean()), 3) for name, of in hits.items()}
    return {"seen": share(~held_out), "held_out": share(held_out)}


@jax.jit
def play(world, key, before, after, actions_TA, image=None) -> jax.Array:
    """Sessions that begin under the prompts `before` and have `after` in force half-way: uint8 [B, T + 1, H, W, 3]."""
    batch = before.whole.shape[0]
    actions = jnp.broadcast_to(actions_TA[:, None], (len(actions_TA), batch, actions_TA.shape[1]))
    state, first = oyster.reset(world, key, before, image, batch)
    state, one = oyster.rollout(world, state, actions[:FRAMES])
    _, two = oyster.rollout(world, oyster.set_prompt(state, after), actions[FRAMES:])
    return jnp.concatenate([first.video[None], one.video, two.video]).swapaxes(0, 1)


def main(_):
    values = flags.FLAGS
    world = oyster.load(values.world)
    if values.prompt_guidance is not None:
        own = world.config.sampling
        guided = lambda how: replace(how, guidance=replace(how.guidance, prompt=values.prompt_guidance))
        guided = replace(guided(own), opening=guided(own.opening))
        world = replace(world, config=replace(world.config, sampling=guided))
    scenes = reef.at(reef.PLACES.index(values.place))
    captions, prompts = [reef.caption(s) for s in scenes], scene_prompts(world, scenes)
    some = lambda scenes: jax.tree.map(lambda x: x[np.array(scenes)], prompts)
    key, rng = jax.random.key(values.seed), np.random.default_rng(values.seed)
    actions = jnp.asarray(world_actions(world, "random", 2 * FRAMES, values.seed))

    then = rng.permutation(len(scenes))
    video = np.asarray(play(world, key, prompts, some(then), actions))
    hits = {
        "first_frame": right(video[:, 0], scenes),
        "after_2_s": right(video[:, FRAMES], scenes),
        "event_after_2_s": right(video[:, -1], [scenes[i] for i in then]),
    }
    rows = {f"{captions[i]}; then {captions[then[i]]}": video[i] for i in (0, len(scenes) // 2, len(scenes) - 1)}

    pick = rng.choice(len(scenes), 4)
    images = jnp.stack([reef.reset(jax.random.key(i), scenes[j])[1].video for i, j in enumerate(pick)])
    none = jax.tree.map(lambda x: jnp.repeat(x, 4, axis=0), oyster.encode_prompt(world))
    begun = np.asarray(play(world, key, none, none, actions, images))
    kept = [psnr(a, np.asarray(b)) for a, b in zip(begun[:, 0], images)]
    rows |= {f"from an image {i}": np.concatenate([images[i][None], begun[i]]) for i in range(2)}

    two = [0, len(scenes) - 1]
    both = np.asarray(play(world, key, some(two), some(two), actions, images[0]))
    rows |= {f"image 0, {captions[i]}": film for i, film in zip(two, both)}
    plots.contact_sheet(Path(values.out), rows, columns=12, stride=5)
    print(
        json.dumps(
            {
                "benchmark": "directing",
                "place": values.place,
                "scenes": len(scenes),
                "prompt_guidance": [
                    world.config.sampling.opening.guidance.prompt,
                    world.config.sampling.guidance.prompt,
                ],
                "right": hits,
                "image_psnr": round(float(np.mean(kept)), 2),
            }
        )
    )


if __name__ == "__main__":
    app.run(main)

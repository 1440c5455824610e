"""The train step and the rollout step compile for a TPU that is not there, with the compiler that would serve it.

Run as a script, which libtpu needs for itself, this file compiles and prints one line of JSON.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HBM = 15.75 * 2**30  # of a v5e chip


def compile_all() -> dict:
    """Compiles for one v5e chip; what was learnt, as plain numbers."""
    import flax.linen as nn
    import jax
    import jax.numpy as jnp

    from oyster_jax.distributed.aot import compile_ahead, shapes, topology_mesh
    from oyster_jax.distributed.mesh import batch_sharding, replicated
    from oyster_jax.errors import OysterError
    from oyster_jax.models.world_model import World
    from oyster_jax.sampling import rollout
    from oyster_jax.training.loop import init_state, shard_train_step
    from oyster_jax.training.tasks import make_tasks

    struct = jax.ShapeDtypeStruct
    mesh = topology_mesh("v5e:1x1")
    here = lambda tree: shapes(tree, replicated(mesh))
    key = jax.eval_shape(lambda: jax.random.key(0))
    experiment, config = tiny_bfloat16()
    tasks = make_tasks(config, experiment.train)
    task, c = tasks[-1], config.dynamics

    _, train_step, laid = shard_train_step(task, mesh)
    state = jax.eval_shape(lambda k: nn.unbox(init_state(task, k)), key)
    bt = (task.stage.batch, task.stage.frames)
    batch = {
        "video_tokens": struct((*bt, c.video_tokens), jnp.uint16),
        "audio_tokens": struct((*bt, c.audio_tokens), jnp.uint16),
        "action": struct((*bt, len(c.action_sizes)), jnp.int32),
        "prompt": struct((bt[0], 1, 256), jnp.uint8),
        "prompt_id": struct(bt, jnp.int32),
    }
    train = compile_ahead(train_step, shapes(state, laid), shapes(batch, batch_sharding(mesh)), here(key))

    world = jax.eval_shape(lambda k: World({t.name: nn.unbox(t.init(k)) for t in tasks}, config), key)
    session = jax.eval_shape(rollout.init_state, world, key)
    action = struct((1, len(c.action_sizes)), jnp.int32)
    step = compile_ahead(jax.jit(rollout.step, donate_argnums=1), here(world), here(session), here(action))

    try:
        compile_ahead(jax.jit(jnp.matmul), *[here(struct((65536, 65536), jnp.float32))] * 2)
        refusal = None
    except OysterError as e:
        refusal = str(e)
    return {
        "dtypes": sorted({str(x.dtype) for x in jax.tree.leaves(state)}),
        "parameters": sum(x.size for x in jax.tree.leaves(state.params)),
        "state_bytes": plain_bytes(state),
        "train": figures(train),
        # A key is two words in one tile of 128.
        "train_by_hand": tiled_bytes((state, batch), train.input_formats[0][:2]) + 4 * 128,
        "step": figures(step),
        "session_bytes": plain_bytes(session._replace(key=None)),
        "refusal": refusal,
    }


def tiny_bfloat16():
    """configs/tiny.py with every activation in bfloat16, on data of three actions: (experiment, world config)."""
    from fractions import Fraction

    from oyster_jax.config import ActionFactor, ActionSpace, MediaSpec
    from oyster_jax.config_dict import from_dict
    from oyster_jax.config_experiment import ExperimentConfig, resolve

    spec = importlib.util.spec_from_file_location("tiny", Path(__file__).parents[2] / "configs" / "tiny.py")
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)

    def bfloat16(node):
        if not isinstance(node, dict):
            return node
        return {k: "bfloat16" if k == "dtype" else bfloat16(v) for k, v in node.items()}

    experiment = from_dict(ExperimentConfig, bfloat16(tiny.get_config().to_dict()))
    actions = ActionSpace((ActionFactor("move", ("stay", "left", "right")),))
    return experiment, resolve(experiment, MediaSpec(Fraction(15), 15360), actions)


def figures(compiled) -> dict:
    memory, text = compiled.memory_analysis(), compiled.as_text()
    names = ("argument", "output", "alias", "temp", "generated_code")
    sizes = {n: getattr(memory, f"{n}_size_in_bytes") for n in names}
    matmuls = [line for line in text.splitlines() if " convolution(" in line or " dot(" in line]
    return sizes | {
        "flops": compiled.cost_analysis()["flops"],
        "matmuls": len(matmuls),
        "bfloat16_matmuls": sum("bf16[" in line for line in matmuls),
        "float64": "f64[" in text,
        "host_calls": "callback" in text or "infeed" in text or "outfeed" in text,
    }


def plain_bytes(tree) -> int:
    import jax

    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def tiled_bytes(tree, formats) -> int:
    """Bytes of arrays on a TPU, whose last dimensions are filled up to whole tiles: (8, 128) for large float32."""
    import jax

    total = 0
    for x, layout in zip(jax.tree.leaves(tree), [f.layout for f in jax.tree.leaves(formats)], strict=True):
        tile = layout.tiling[0]
        sizes = [1] * (len(tile) - x.ndim) + [x.shape[i] for i in layout.major_to_minor]
        whole = x.dtype.itemsize
        for size, side in zip(sizes[::-1], [*tile[::-1], *[1] * len(sizes)]):
            whole *= -(-size // side) * side
        total += whole
    return total


# ---------------------------------------------------------------------------- the tests


@pytest.fixture(scope="module")
def compiled():
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("libtpu, the TPU compiler, is not installed: pip install 'oyster_jax[tpu]'")
    from oyster_jax.distributed.aot import ENVIRONMENT

    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | ENVIRONMENT
    done = subprocess.run([sys.executable, __file__], env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_train_steps_arguments_are_what_arithmetic_says(compiled):
    """Parameters and Adam's two moments in float32, three counters of steps, a batch, a key; nothing else."""
    assert compiled["dtypes"] == ["float32", "int32"]
    assert compiled["state_bytes"] == 4 * (3 * compiled["parameters"] + 3)
    assert compiled["train"]["argument"] == compiled["train_by_hand"] > compiled["state_bytes"]


def test_the_train_step_is_written_over_its_own_state(compiled):
    train = compiled["train"]
    assert train["alias"] >= compiled["state_bytes"]  # donated whole
    assert train["output"] - train["alias"] < 2**16  # beside it only metrics
    assert train["argument"] + train["temp"] + train["generated_code"] < HBM / 100


def test_the_rollout_step_keeps_its_session_in_place(compiled):
    step = compiled["step"]
    assert step["alias"] >= compiled["session_bytes"]
    assert step["temp"] < 2**24
    assert step["argument"] < compiled["train"]["argument"]


@pytest.mark.parametrize("name", ["train", "step"])
def test_matmuls_are_bfloat16_and_nothing_calls_the_host(compiled, name):
    program = compiled[name]
    assert program["flops"] > 0 and program["matmuls"] > 10
    assert program["bfloat16_matmuls"] > 0.5 * program["matmuls"]
    assert not program["float64"] and not program["host_calls"]


def test_what_does_not_fit_is_refused(compiled):
    assert compiled["refusal"].startswith("too large for one device")


if __name__ == "__main__":
    print(json.dumps(compile_all()))

"""What is compiled ahead, kept on disk or spread over devices is the step itself."""

import dataclasses
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from oyster_jax.compiler import compiler_options
from oyster_jax.config_sampling import Randomness
from oyster_jax.distributed.mesh import make_mesh
from oyster_jax.errors import OysterError
from oyster_jax.sampling import executables, rollout, session
from oyster_jax.sampling.compiled import compile_reset, compile_step

raw = lambda tree: jax.tree.map(
    lambda x: np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x), tree
)


def assert_close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4), raw(a), raw(b))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache directory of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "oyster_jax" / "executables"


@pytest.fixture(scope="module")
def eight(world, clip):
    """Eight sessions of different ages and prompts, two of them paused."""
    state, _ = jax.jit(rollout.prefill)(world, jax.random.key(3), clip)
    state = session.take(session.fork(state, 3), slice(8))
    awake = jnp.array([True, True, False, True, True, True, False, True])
    return state._replace(position=jnp.arange(8) + 5, active=awake)


@pytest.fixture(scope="module")
def actions(config):
    return jnp.asarray(np.random.default_rng(8).integers(0, config.actions.sizes, (2, 8, 2)), jnp.int32)


def test_eight_devices_play_as_one(world, eight, actions):
    fast = compile_step(world, batch=8, donate=False, mesh=make_mesh(), keep=False)
    plain = jax.jit(rollout.step, compiler_options=compiler_options())
    alone, spread = eight, eight
    for action in actions:
        (spread, far), (alone, near) = fast(spread, action), plain(world, alone, action)
        assert_close(far, near)
    assert_close(spread, alone)
    assert {len(s.data) for s in spread.dynamics[0].k.addressable_shards} == {1}
    with pytest.raises(OysterError, match="6 sessions do not divide among 8 devices"):
        compile_step(world, batch=6, mesh=make_mesh())


def test_a_second_start_loads_what_the_first_compiled(world, eight, actions, folder, monkeypatch):
    one, action = session.take(eight, 0), actions[0, :1]
    first = compile_step(world, donate=True)
    files = sorted(folder.iterdir())
    assert len(files) == 2 and folder.stat().st_mode & 0o077 == 0
    expected = raw(first(session.take(one, 0), action))
    with monkeypatch.context() as broken:  # nothing can be compiled now
        broken.setattr(jax.stages.Lowered, "compile", None)
        again = compile_step(world, donate=True)
        used = session.take(one, 0)
        jax.tree.map(np.testing.assert_array_equal, raw(again(used, action)), expected)
        assert used.dynamics[0].k.is_deleted()  # it donates as before
    files[0].write_bytes(files[0].read_bytes()[:-1])  # cut short: compiled and kept again
    jax.tree.map(np.testing.assert_array_equal, raw(compile_step(world)(one, action)), expected)


def test_whatever_changes_is_compiled_again(world, folder, monkeypatch):
    """Another config, donation, number of sessions, version, processor, flag or source: another program."""
    other = dataclasses.replace(world.config.sampling, video_steps=1, audio_steps=1)
    made = lambda: {f.name for f in folder.iterdir()}
    seen = [set()]

    def new():
        seen.append(made())
        return len(seen[-1] - seen[-2])

    compile_step(world, sampling=other)
    assert new() == 2
    compile_step(world, sampling=other)
    assert new() == 0
    compile_reset(world, sampling=other)
    assert new() == 1  # its commit is the step's
    compile_step(world, sampling=other, donate=False)
    assert new() == 1  # none but a commit donates
    compile_step(world, sampling=dataclasses.replace(other, randomness=Randomness(temperature=0.5)))
    assert new() == 1  # however a frame was drawn, it is committed alike
    compile_step(world, sampling=other, batch=2)
    assert new() == 2
    for devices in (jax.devices()[:2], jax.devices()[1::-1]):
        compile_step(world, sampling=other, batch=2, mesh=Mesh(np.array(devices), "data"))
        assert new() == 2  # the same devices in another order are other places
    for change in (
        lambda: monkeypatch.setattr(executables, "_source", lambda: "mended"),
        lambda: monkeypatch.setattr(executables, "_processor", lambda: "another"),
        lambda: monkeypatch.setattr(executables.importlib.metadata, "version", lambda name: "99"),
        lambda: monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"] + " --xla_cpu_enable_fast_min_max=true"),
    ):
        before = executables._surroundings()
        change()
        assert executables._surroundings() != before


def test_programs_that_others_could_have_written_are_not_run(world, folder):
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    assert executables.cache_folder() is None
    folder.chmod(0o700)
    assert executables.cache_folder() == folder
    folder.rmdir()
    folder.write_text("in the way")
    assert executables.cache_folder() is None


def test_a_compiled_reset_is_reset(world, clip):
    key, image = jax.random.key(5), np.asarray(clip.video[0, 0])
    prompts = ["night", ""]
    both = jax.tree.map(lambda *x: jnp.concatenate(x), *[rollout.encode_prompt(world, p) for p in prompts])
    plain = jax.jit(rollout.reset, static_argnames="batch", compiler_options=compiler_options())
    assert_close(compile_reset(world, batch=2, keep=False)(key, prompts), plain(world, key, both, batch=2))
    begin = compile_reset(world, batch=2, from_image=True, keep=False)
    assert_close(begin(key, prompts, image), plain(world, key, both, jnp.asarray(image), batch=2))
    with pytest.raises(OysterError, match="1 prompts for 2 sessions"):
        begin(key, ["night"], image)
    with pytest.raises(OysterError, match="257 bytes"):
        begin(key, "x" * 257, image)
    with pytest.raises(OysterError, match=r"uint8 \(32, 48, 3\)"):
        begin(key, "", image[:16])
    with pytest.raises(OysterError, match="3 images for 2 sessions"):
        begin(key, "", np.stack([image] * 3))
    with pytest.raises(OysterError, match="got float32"):
        begin(key, "", image.astype(np.float32))


def test_a_state_that_does_not_fit_is_refused_and_stays(world, eight, actions):
    fast = compile_step(world, batch=2, keep=False)
    two = session.take(eight, slice(2))
    with pytest.raises(OysterError, match="another number of sessions"):
        fast(eight, actions[0])
    with pytest.raises(OysterError, match="no session of this world"):
        fast(two._replace(video=two.video[:1]), actions[0, :2])
    with pytest.raises(OysterError, match="another kind of keys"):
        fast(two._replace(key=jax.random.split(jax.random.key(0, impl="rbg"), 2)), actions[0, :2])
    for action in (actions[0, :2, :1], actions[0, :1], actions[0, :2] + 3):
        with pytest.raises(OysterError, match="action"):
            fast(two, action)
    jax.tree.map(
        np.testing.assert_array_equal,
        *(raw(fast(session.take(two, [0, 1]), a)) for a in (actions[0, :2], actions[0, :2].tolist())),
    )


@pytest.mark.parametrize("run", ["commit", "step", "rollout"])
def test_no_memory_is_copied(world, eight, actions, run):
    """A session's K/V are read as they lie and written in place, be it one frame or a loop of them."""
    state, action = session.take(eight, 0), actions[0, :1]
    told = {
        "commit": lambda: jax.eval_shape(rollout.predict, world, state, action)[0],
        "step": lambda: action,
        "rollout": lambda: actions[:, :1],
    }[run]()
    compiled = jax.jit(getattr(rollout, run), donate_argnums=1).lower(world, state, told).compile(compiler_options())
    memory = {f"f32[{','.join(map(str, kv.k.shape))}]" for kv in (*state.dynamics, *state.video)}
    lines = [line for line in compiled.as_text().splitlines() if any(f"= {kind}" in line for kind in memory)]
    assert lines and not [line for line in lines if " copy(" in line]
    assert compiled.memory_analysis().alias_size_in_bytes >= session.state_bytes(state._replace(key=state.position))

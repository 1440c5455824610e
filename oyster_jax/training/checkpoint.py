"""Saving and resuming a stage: Orbax behind one class, with the data iterator inside each checkpoint."""

import json
from pathlib import Path

import grain
import orbax.checkpoint as ocp

from oyster_jax.config_dict import first_difference
from oyster_jax.errors import OysterError


class Checkpoints:
    """The checkpoints of one stage in one folder; the newest `keep` stay. Saving is asynchronous."""

    def __init__(self, folder: str | Path, config: dict, keep: int = 2):
        """`config` (plain JSON types) is stored with every checkpoint and must match when one is read."""
        self._config = json.loads(json.dumps(config))
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self._manager = ocp.CheckpointManager(Path(folder).absolute(), options=options)

    @property
    def latest(self) -> int | None:
        """The step of the newest whole checkpoint; one cut off while it was written does not count."""
        return self._manager.latest_step()

    def save(self, step: int, state, iterator: grain.DatasetIterator) -> None:
        """Begins to save `state` (a pytree) and the iterator's place."""
        if step == self.latest:
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                data=grain.checkpoint.CheckpointSave(iterator),
                config=ocp.args.JsonSave(self._config),
            ),
        )

    def restore(self, abstract, iterator: grain.DatasetIterator | None = None):
        """The newest state, laid out as `abstract` (shapes, dtypes and shardings), and the iterator moved to its place.

        Raises OysterError if the checkpoint was made with another config.
        """
        stored = self._manager.restore(self.latest, args=ocp.args.Composite(config=ocp.args.JsonRestore()))["config"]
        if found := first_difference(stored, self._config):
            raise OysterError(
                f"the checkpoint in {self._manager.directory} was made with another config ({found}); give another "
                f"--workdir or the config that it was made with"
            )
        args = {"state": ocp.args.StandardRestore(abstract)}
        if iterator is not None:
            args["data"] = grain.checkpoint.CheckpointRestore(iterator)
        return self._manager.restore(self.latest, args=ocp.args.Composite(**args))["state"]

    def wait(self) -> None:
        """Returns when everything is on disk; raises what a save in the background raised."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self._manager.close()

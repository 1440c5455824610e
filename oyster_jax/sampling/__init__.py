"""Playing a trained world: `reset`, `prefill`, `step`, `rollout`. Pure functions over pytrees."""

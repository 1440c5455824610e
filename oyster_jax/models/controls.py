"""From controls to latent codes: a small labelled set says which code each control means.

A table of counts and Bayes' rule, so a few hundred labelled frames are enough and a space of many factors does not
need an example of every combination. What changes between two frames may be the action just taken or the one before
(a lamp lights at once, a body needs an interval to move), so both are asked.
"""

import numpy as np


def with_previous(actions: np.ndarray) -> np.ndarray:
    """Actions in their order, int32 [..., T, A], each with the one before it: [..., T, 2A]; -1 before the first."""
    before = np.concatenate([np.full_like(actions[..., :1, :], -1), actions[..., :-1, :]], axis=-2)
    return np.concatenate([actions, before], axis=-1)


def fit_controls(
    codes: np.ndarray, controls: np.ndarray, sizes: tuple[int, ...], control_sizes: tuple[int, ...]
) -> dict:
    """Counts of codes [X, factors] beside the controls [X, C] of the same transitions, as a tree of float32 arrays.

    A control of -1 is not known and not counted.
    """
    out = {}
    for i, size in enumerate(sizes):
        tables = {"prior": np.bincount(codes[:, i], minlength=size).astype(np.float32)}
        for j, count in enumerate(control_sizes):
            table, known = np.zeros((size, count), np.float32), controls[:, j] >= 0
            np.add.at(table, (codes[known, i], controls[known, j]), 1)
            tables[f"control{j}"] = table
        out[f"latent{i}"] = tables
    return out


def predict_codes(tables: dict, controls: np.ndarray) -> np.ndarray:
    """The likeliest codes int32 [..., factors] of controls [..., C], taken as independent; -1 says nothing."""
    columns = []
    for i in range(len(tables)):
        latent = {name: np.asarray(table) + 0.1 for name, table in tables[f"latent{i}"].items()}
        prior = np.log(latent["prior"] / latent["prior"].sum())
        score = np.broadcast_to(prior, (*controls.shape[:-1], len(prior))).copy()
        for j in range(controls.shape[-1]):
            value, table = controls[..., j], latent[f"control{j}"]
            likelihood = np.log(table / table.sum(1, keepdims=True)).T
            score += np.where(value[..., None] >= 0, likelihood[value], 0)
        columns.append(score.argmax(-1))
    return np.stack(columns, -1).astype(np.int32)

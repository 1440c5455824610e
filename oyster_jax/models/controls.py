"""From controls to latent codes: a small labelled set says which code each control means.

A table of counts and Bayes' rule, so a few hundred labelled frames are enough and a space of many factors does not
need an example of every combination.
"""

import numpy as np


def fit_controls(codes: np.ndarray, actions: np.ndarray, sizes: tuple[int, ...], action_sizes: tuple[int, ...]) -> dict:
    """Counts of codes [X, factors] beside true actions [X, A] of the same transitions, as a tree of float32 arrays."""
    out = {}
    for i, size in enumerate(sizes):
        tables = {"prior": np.bincount(codes[:, i], minlength=size).astype(np.float32)}
        for j, count in enumerate(action_sizes):
            table = np.zeros((size, count), np.float32)
            np.add.at(table, (codes[:, i], actions[:, j]), 1)
            tables[f"action{j}"] = table
        out[f"latent{i}"] = tables
    return out


def predict_codes(controls: dict, actions: np.ndarray) -> np.ndarray:
    """The likeliest codes int32 [X, factors] of true actions [X, A], factors of an action taken as independent."""
    columns = []
    for i in range(len(controls)):
        tables = controls[f"latent{i}"]
        prior = np.asarray(tables["prior"])
        score = np.broadcast_to(np.log((prior + 0.1) / (prior + 0.1).sum()), (len(actions), len(prior))).copy()
        for j in range(actions.shape[1]):
            table = np.asarray(tables[f"action{j}"]) + 0.1
            score += np.log(table / table.sum(1, keepdims=True)).T[actions[:, j]]
        columns.append(score.argmax(1))
    return np.stack(columns, -1).astype(np.int32)

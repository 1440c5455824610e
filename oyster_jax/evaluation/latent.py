"""Whether latent actions are actions: which codes are used, and what they say about the hidden true ones."""

import numpy as np

from oyster_jax.models.controls import fit_controls, predict_codes


def latent_report(
    codes: np.ndarray, actions: np.ndarray, sizes: tuple[int, ...], action_sizes: tuple[int, ...]
) -> dict:
    """Codes [X, factors] against true actions [X, A] of the same transitions.

    Codes in use; the true action guessed from the code (the commonest action of each code, fitted on one half and
    judged on the other) against always guessing the commonest; normalised mutual information; and how often a map from
    controls to codes, fitted on the first half's labels, names the code that was inferred.
    """
    half = len(codes) // 2
    joint_code = np.ravel_multi_index(codes.T, sizes)
    report = {"codes_used": [len(np.unique(codes[:, i])) for i in range(codes.shape[1])], "factors": {}}
    for i, size in enumerate(action_sizes):
        action = actions[:, i]
        table = np.zeros((int(np.prod(sizes)), size))
        np.add.at(table, (joint_code[:half], action[:half]), 1)
        commonest = np.bincount(action[:half], minlength=size).argmax()
        guess = np.where(table.sum(1) > 0, table.argmax(1), commonest)[joint_code[half:]]
        report["factors"][str(i)] = {
            "accuracy": float((guess == action[half:]).mean()),
            "majority": float((action[half:] == commonest).mean()),
            "mutual_information_share": mutual_information_share(table),
        }
    controls = fit_controls(codes[:half], actions[:half], sizes, action_sizes)
    named = predict_codes(controls, actions[half:])
    report["code_from_control_accuracy"] = float((named == codes[half:]).all(-1).mean())
    return report


def mutual_information_share(table: np.ndarray) -> float:
    """Mutual information of rows and columns of a count table, as a share of the columns' entropy: 0 none, 1 all."""
    p = table / table.sum()
    row, column = p.sum(1, keepdims=True), p.sum(0, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.nansum(np.where(p > 0, p * np.log(p / (row * column)), 0))
        entropy = -np.nansum(np.where(column > 0, column * np.log(column), 0))
    return float(information / entropy) if entropy > 0 else 0.0

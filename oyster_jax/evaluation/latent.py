"""Whether latent actions are actions: which codes are used, and what they say about the hidden true ones."""

import numpy as np

from oyster_jax.models.controls import fit_controls, predict_codes


def latent_report(codes: np.ndarray, controls: np.ndarray, sizes: tuple[int, ...], names: dict[str, int]) -> dict:
    """Codes [X, factors] against true controls [X, C] of the same transitions, whose `names` come with their sizes.

    Codes in use. Where controls are known: each control guessed from the code (the commonest of each code, fitted on
    one half and judged on the other) against always guessing the commonest; normalised mutual information, beside what
    the same codes in random order have of it (many codes say something by chance); and how often a map from controls
    to codes, fitted on the first half's labels, names the code that was inferred, against always the commonest code.
    """
    half = len(codes) // 2
    joint_code = np.ravel_multi_index(codes.T, sizes)
    report = {"codes_used": [len(np.unique(codes[:, i])) for i in range(codes.shape[1])]}
    if not names:
        return report
    report["controls"] = {}
    for i, (name, size) in enumerate(names.items()):
        control = controls[:, i]
        table, by_chance = (np.zeros((int(np.prod(sizes)), size)) for _ in range(2))
        np.add.at(table, (joint_code[:half], control[:half]), 1)
        np.add.at(by_chance, (np.random.default_rng(0).permutation(joint_code[:half]), control[:half]), 1)
        commonest = np.bincount(control[:half], minlength=size).argmax()
        guess = np.where(table.sum(1) > 0, table.argmax(1), commonest)[joint_code[half:]]
        report["controls"][name] = {
            "accuracy": float((guess == control[half:]).mean()),
            "majority": float((control[half:] == commonest).mean()),
            "mutual_information_share": mutual_information_share(table),
            "mutual_information_by_chance": mutual_information_share(by_chance),
        }
    tables = fit_controls(codes[:half], controls[:half], sizes, tuple(names.values()))
    named = predict_codes(tables, controls[half:])
    report["code_from_controls"] = {
        "accuracy": float((named == codes[half:]).all(-1).mean()),
        "majority": float((joint_code[half:] == np.bincount(joint_code[:half]).argmax()).mean()),
    }
    return report


def mutual_information_share(table: np.ndarray) -> float:
    """Mutual information of rows and columns of a count table, as a share of the columns' entropy: 0 none, 1 all.

    The uncertainty coefficient (Theil 1970).
    """
    p = table / table.sum()
    row, column = p.sum(1, keepdims=True), p.sum(0, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.nansum(np.where(p > 0, p * np.log(p / (row * column)), 0))
        entropy = -np.nansum(np.where(column > 0, column * np.log(column), 0))
    return float(information / entropy) if entropy > 0 else 0.0

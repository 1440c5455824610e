"""Small things that must not be lost: whether a ball that the game says is there can be seen."""

import numpy as np

from oyster_jax.evaluation.metrics import decibels

# Breakout keeps the ball's place in these bytes of its RAM (Anand et al. 2019, arXiv 1906.08226). The offsets below
# were fitted on 5,116 recorded frames, to a quarter of a pixel at 64x64.
BALL_X, BALL_Y = 99, 101
SCREEN = (210, 160)


def breakout_ball_position(ram: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The ball's centre in pixels of a frame of `size` (height, width), float [T, 2] as (row, column).

    nan where the ball is not in play. The offsets bring RAM coordinates to the screen's.
    """
    x, y = ram[:, BALL_X].astype(float), ram[:, BALL_Y].astype(float)
    row, column = (y + 12) / SCREEN[0] * size[0], (x - 48) / SCREEN[1] * size[1]
    return np.where((y > 0)[:, None], np.stack([row, column], -1), np.nan)


def breakout_ball_recall(truth: list, seen: list, truths: list[dict]) -> dict:
    """Of the balls that can be seen in flight in the true frames, the share that can be seen in others.

    A ball is seen at its RAM position if a pixel within two of it is brighter than the empty court by half of what the
    true ball is. Judged below the bricks and above the paddle, where the court is black. `psnr` compares the
    same pixels with the true ones, beside `psnr_without`, an empty court: whether the ball has its place and shape.
    """
    hits, blank, errors, empty = [], [], [], []
    for frames, others, extra in zip(truth, seen, truths):
        size = frames.shape[1:3]
        for t, (row, column) in enumerate(breakout_ball_position(extra["truth/ram"], size)):
            if np.isnan(row) or not 0.47 * size[0] < row < 0.85 * size[0] or not 0.1 < column / size[1] < 0.9:
                continue
            box = np.s_[round(row) - 2 : round(row) + 3, round(column) - 2 : round(column) + 3]
            contrast = frames[t][box].max().astype(float)
            if contrast < 60:  # flicker or a mistaken position: nothing to be seen in truth either
                continue
            hits.append(others[t][box].max() > contrast / 2)
            errors.append(np.mean((others[t][box] / 255.0 - frames[t][box] / 255.0) ** 2))
            empty.append(np.mean((frames[t][box] / 255.0) ** 2))
            aside = round(column) + (size[1] // 4 if column < size[1] / 2 else -size[1] // 4)
            away = others[t][box[0], aside - 2 : aside + 3]  # the same test where no ball is: false alarms
            blank.append(away.max() > contrast / 2)
    if not hits:
        return {"frames": 0}
    return {
        "frames": len(hits),
        "recall": float(np.mean(hits)),
        "false_alarms": float(np.mean(blank)),
        "psnr": float(decibels(np.mean(errors))),
        "psnr_without": float(decibels(np.mean(empty))),
    }

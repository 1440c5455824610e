"""Pictures of any shape to small square ones, by exact area averaging."""

import numpy as np
from scipy import sparse


class AreaDownscale:
    """Averages a picture uint8 [H, W, 3] to uint8 [size, size, 3]; the whole of it, or its central square.

    One sparse matrix does rows, columns and colours: faster than dense products, and it does not wake a pool of BLAS
    threads for each frame, which crawls where another process keeps the cores busy.
    """

    def __init__(self, shape: tuple[int, int], size: int, crop: bool = False):
        side = min(shape)
        rows, columns = (_area_matrix(n, size, side if crop else n) for n in shape)
        self._mean = sparse.kron(sparse.kron(rows, columns), sparse.eye(3)).tocsr().astype(np.float32)
        self._shape = size, size, 3

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        return np.rint(self._mean @ picture.reshape(-1).astype(np.float32)).astype(np.uint8).reshape(self._shape)


def _area_matrix(old: int, new: int, kept: int) -> sparse.csr_matrix:
    """[new, old]: each output pixel is the mean of the input pixels under it, in the middle `kept` of `old` pixels."""
    edges, pixels = np.arange(new + 1) * kept / new + (old - kept) / 2, np.arange(old)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return sparse.csr_matrix(np.maximum(overlap, 0) * new / kept)

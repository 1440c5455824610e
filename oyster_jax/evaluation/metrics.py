"""Metrics as functions of NumPy arrays; each says where it comes from, or how it is defined where it is our own."""

import numpy as np

_SSIM_BORDER = 5  # pixels whose window would reach over the edge
CHANGED = 0.06  # a pixel differs from the background where any channel is further than this from it


def decibels(mean_square) -> np.ndarray:
    """PSNR in dB, float64, of mean squared errors of pixels in [0, 1]; 100 dB, to the bit, where they are next to 0."""
    mean_square = np.asarray(mean_square, np.float64)
    # NumPy's log10 rounds differently from processor to processor: the limit is not left to it.
    return np.where(mean_square > 1e-10, -10 * np.log10(np.maximum(mean_square, 1e-10)), 100.0)


def psnr(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB of uint8 images of any shape, over `mask` (bool, without channels) if given:
    ten times the logarithm of 255 squared over the mean squared error.

    nan where the mask is empty, 100 dB for equal images.
    """
    error = ((a.astype(np.float32) - b.astype(np.float32)) / 255) ** 2
    if mask is not None:
        error = error[mask]
    return float(decibels(error.mean())) if error.size else float("nan")


def psnr_each(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """PSNR of each image of a batch: uint8 [..., H, W, 3] to float [...]."""
    error = ((a.astype(np.float32) - b.astype(np.float32)) / 255) ** 2
    return decibels(error.mean((-3, -2, -1)))


def ssim_map(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Structural similarity of the windows around pixels of uint8 images [..., H, W, 3], float [..., H - 10, W - 10];
    its mean is SSIM (Wang et al. 2004).

    Gaussian window of σ = 1.5, 11 pixels wide, covariances unbiased, borders cropped: the mean is scikit-image's
    `structural_similarity(gaussian_weights=True, channel_axis=-1, data_range=255)`.
    """
    from scipy.ndimage import correlate1d

    reach = np.arange(-_SSIM_BORDER, _SSIM_BORDER + 1)
    window = np.exp(-(reach**2) / (2 * 1.5**2))
    window /= window.sum()
    blur = lambda x: correlate1d(correlate1d(x, window, axis=-3, mode="reflect"), window, axis=-2, mode="reflect")
    a, b = a.astype(np.float64), b.astype(np.float64)
    mean_a, mean_b = blur(a), blur(b)
    unbiased = 11**2 / (11**2 - 1)
    var_a = unbiased * (blur(a * a) - mean_a**2)
    var_b = unbiased * (blur(b * b) - mean_b**2)
    cov = unbiased * (blur(a * b) - mean_a * mean_b)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    score = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return score[..., _SSIM_BORDER:-_SSIM_BORDER, _SSIM_BORDER:-_SSIM_BORDER, :].mean(-1)


def ssim_where(score: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The mean of an `ssim_map` over the windows around the pixels of a mask bool [..., H, W], float [...]; nan where
    there are none."""
    inner = mask[..., _SSIM_BORDER:-_SSIM_BORDER, _SSIM_BORDER:-_SSIM_BORDER]
    count = inner.sum((-2, -1))
    return np.where(count > 0, (score * inner).sum((-2, -1)) / np.maximum(count, 1), np.nan)


def changed_mask(video: np.ndarray, background: np.ndarray) -> np.ndarray:
    """bool [..., H, W]: the pixels of `video` (uint8 [..., H, W, 3]) that differ from `background` [..., H, W, 3]."""
    return np.abs(video.astype(np.float32) - background).max(-1) > CHANGED * 255


def log_mel(audio: np.ndarray, sample_rate: int, bands: int = 40, size: int = 512) -> np.ndarray:
    """Log-mel spectrogram in dB of float sound [X], float [frames, bands]: Hann, hop size / 4, floor -80 dB."""
    power = magnitudes(audio, size) ** 2 / (size / 4) ** 2
    return 10 * np.log10(power @ mel_filters(bands, size, sample_rate) + 1e-8)


def magnitudes(audio: np.ndarray, size: int) -> np.ndarray:
    """Magnitude spectrogram of float sound [X], float [frames, size / 2 + 1]: Hann, hop size / 4."""
    audio = np.pad(audio, (0, max(0, size - len(audio))))
    frames = np.lib.stride_tricks.sliding_window_view(audio, size)[:: size // 4]
    return np.abs(np.fft.rfft(frames * np.hanning(size)))


def mel_filters(bands: int, size: int, sample_rate: int) -> np.ndarray:
    """Triangular filters, float [size / 2 + 1, bands], evenly spaced in mel (HTK: 2595 log10(1 + f / 700))."""
    mel = lambda f: 2595 * np.log10(1 + f / 700)
    edges = 700 * (10 ** (np.linspace(0, mel(sample_rate / 2), bands + 2) / 2595) - 1)
    f = np.linspace(0, sample_rate / 2, size // 2 + 1)[:, None]
    low, mid, high = edges[:-2], edges[1:-1], edges[2:]
    filters = np.maximum(0, np.minimum((f - low) / (mid - low), (high - f) / (high - mid)))
    return filters / np.maximum(filters.sum(0), 1e-9)


def log_mel_distance(a: np.ndarray, b: np.ndarray, sample_rate: int) -> float:
    """Mean absolute difference in dB of two sounds' log-mel spectrograms; 0 for equal sounds.

    The mean absolute error of log-mel spectrograms is how vocoders are told (HiFi-GAN, arXiv 2010.05646, section 4.3).
    """
    return float(np.abs(log_mel(a.reshape(-1), sample_rate) - log_mel(b.reshape(-1), sample_rate)).mean())


def spectral_convergence(heard: np.ndarray, truth: np.ndarray) -> float:
    """How far magnitude spectra are from the true ones, in parts of these (Arik et al., arXiv 1808.06719), the
    mean over three resolutions as in Parallel WaveGAN (arXiv 1910.11480).

    0 for equal sounds, 1 for silence; nan where the truth is silent. Loud moments and loud partials make it, where the
    log-mel distance hears faint ones as well.
    """
    parts = []
    for size in (256, 512, 1024):
        a, b = (magnitudes(x.reshape(-1).astype(np.float64), size) for x in (heard, truth))
        parts.append(np.linalg.norm(a - b) / np.linalg.norm(b) if b.any() else np.nan)
    return float(np.mean(parts))


def bootstrap(values, groups=None, draws: int = 2000, seed: int = 0) -> dict[str, float]:
    """Mean of a sample, and the 95 % interval of that mean by resampling with replacement (Efron 1979).

    Values that share a group (int [X]; default: each has its own) are drawn or left together: windows of the same clip
    overlap, and counted as independent they would make the interval too narrow.
    """
    values = np.asarray(values, np.float64)
    _, index = np.unique(np.arange(len(values)) if groups is None else groups, return_inverse=True)
    total, count = np.bincount(index, values), np.bincount(index)
    drawn = np.random.default_rng(seed).integers(0, len(count), (draws, len(count)))
    means = total[drawn].sum(1) / count[drawn].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high), "count": len(values)}

"""Metrics against known answers: scikit-image's, arithmetic by hand, and sounds whose difference is known."""

import itertools

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from oyster_jax.config import MediaSpec
from oyster_jax.evaluation import metrics
from oyster_jax.evaluation.objects import breakout_ball_position, breakout_ball_recall
from oyster_jax.evaluation.tokenizers import code_report, picture_report, sound_report

RATE = 16_000


@pytest.fixture(scope="module")
def pictures():
    """Three smooth pictures, and the same with noise of growing strength: uint8 [3, 40, 48, 3]."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :48]
    a = np.stack([127 + 100 * np.sin(x / (3 + i) + c) * np.cos(y / 5) for i in range(3) for c in range(3)])
    a = a.reshape(3, 3, 40, 48).transpose(0, 2, 3, 1)
    b = a + rng.normal(0, 1, a.shape) * np.array([2, 10, 40])[:, None, None, None]
    return a.astype(np.uint8), b.clip(0, 255).astype(np.uint8)


def test_psnr_and_ssim_are_scikit_images(pictures):
    a, b = pictures
    psnr = [peak_signal_noise_ratio(x, y) for x, y in zip(a, b)]
    np.testing.assert_allclose(metrics.psnr_each(a, b), psnr, atol=1e-6)
    np.testing.assert_allclose([metrics.psnr(x, y) for x, y in zip(a, b)], psnr, atol=1e-6)
    theirs = dict(channel_axis=-1, gaussian_weights=True, data_range=255)
    np.testing.assert_allclose(
        metrics.ssim_map(a, b).mean((-2, -1)), [structural_similarity(x, y, **theirs) for x, y in zip(a, b)], atol=1e-6
    )
    assert psnr[0] > psnr[1] > psnr[2]


def test_equal_pictures_score_best(pictures):
    a, _ = pictures
    assert metrics.psnr(a, a) == 100 and (metrics.psnr_each(a, a) == 100).all()
    np.testing.assert_allclose(metrics.ssim_map(a, a), 1, atol=1e-12)


def test_psnr_over_a_mask_is_that_of_the_masked_pixels(pictures):
    a, b = pictures
    mask = np.random.default_rng(1).random(a.shape[:3]) < 0.2
    np.testing.assert_allclose(metrics.psnr(a, b, mask), peak_signal_noise_ratio(a[mask], b[mask]), atol=1e-6)
    assert np.isnan(metrics.psnr(a, b, np.zeros_like(mask)))


def test_changed_pixels_are_those_off_the_background():
    """In any one channel, upwards or downwards, by more than 0.06 of the range: 16 steps but not 15."""
    background = np.full((4, 5, 3), 100.0)
    video = np.full((2, 4, 5, 3), 100, np.uint8)
    video[0, 1, 2, 0], video[1, 3, 4, 2], video[0, 0, 0] = 116, 84, (115, 85, 100)
    expected = np.zeros((2, 4, 5), bool)
    expected[0, 1, 2] = expected[1, 3, 4] = True
    np.testing.assert_array_equal(metrics.changed_mask(video, background), expected)


def test_a_still_background_does_not_score_on_changed_pixels():
    """A ball on a still court: the court alone has a fine PSNR as a whole, and a poor one where anything moves."""
    background = np.random.default_rng(2).integers(0, 100, (48, 48, 3)).astype(float)
    truth = np.repeat(background[None], 8, 0).astype(np.uint8)
    for t in range(8):
        truth[t, 5 * t : 5 * t + 3, 20:23] = 255
    report = picture_report(truth, truth, background)
    assert report["changed_share"] == pytest.approx(9 / 48**2)
    still = report["static_median"]
    assert still["psnr"] > 25 and still["psnr_changed"] < 5 and still["ssim_changed"] < still["ssim"] < 1
    assert report["tokenizer"]["psnr_changed"] == 100 and report["tokenizer"]["ssim_changed"] == pytest.approx(1)


# ---------------------------------------------------------------------------- sound


@pytest.fixture(scope="module")
def beep():
    """A second of faint noise with a beep of a tenth of a second in it, and the same without: float32 [X]."""
    rng = np.random.default_rng(3)
    quiet = rng.normal(0, 1e-3, RATE).astype(np.float32)
    sound = quiet.copy()
    sound[8000:9600] += 0.5 * np.sin(2 * np.pi * 880 / RATE * np.arange(1600))
    return sound, quiet


def test_log_mel_distance_is_zero_for_equal_sounds_and_grows_with_noise(beep):
    sound, _ = beep
    noise = np.random.default_rng(4).normal(0, 1, RATE)
    distances = [metrics.log_mel_distance(sound, sound + k * noise, RATE) for k in (0, 1e-3, 1e-2, 1e-1)]
    assert distances[0] == 0
    assert all(b > a + 1 for a, b in itertools.pairwise(distances))


def test_log_mel_distance_hears_a_beep_that_is_missing(beep):
    """And most of all where the beep was."""
    sound, quiet = beep
    missing = metrics.log_mel_distance(sound, quiet, RATE)
    part = slice(8000, 9600)
    assert missing > 0.5
    assert metrics.log_mel_distance(sound[part], quiet[part], RATE) > 2.5 * missing


def test_spectral_convergence_is_the_share_that_is_missing(beep):
    sound, quiet = beep
    distances = [metrics.spectral_convergence(x, sound) for x in (sound, 0.75 * sound, 0.25 * sound, quiet)]
    np.testing.assert_allclose(distances[:3], [0, 0.25, 0.75], atol=1e-6)
    assert 0.9 < distances[3] < 1  # the beep is nearly all of it


def test_a_tone_peaks_in_its_own_mel_band():
    time = np.arange(RATE) / RATE
    bands = [metrics.log_mel(np.sin(2 * np.pi * f * time), RATE).mean(0).argmax() for f in (300, 1000, 3000, 7000)]
    assert bands == sorted(set(bands))
    # A full-scale sine is 0 dB over its band's width, silence the floor.
    assert -20 < metrics.log_mel(np.sin(2 * np.pi * 1000 * time), RATE).max() <= 0
    assert metrics.log_mel(np.zeros(RATE), RATE).max() == pytest.approx(-80)


def test_the_sound_report_sets_silence_beside_the_tokenizer(beep):
    media = MediaSpec(16, RATE)
    sound, quiet = (x.reshape(16, -1) for x in beep)
    report = sound_report([sound, quiet], [sound, quiet], media)
    assert report["tokenizer"] == {"spectral_convergence": 0, "log_mel_db": 0, "log_mel_db_loud": 0}
    assert report["silence"]["spectral_convergence"] == pytest.approx(1)
    assert report["silence"]["log_mel_db_loud"] > report["silence"]["log_mel_db"] > 1
    silent = sound_report([np.zeros_like(sound)], [np.zeros_like(sound)], media)["tokenizer"]
    assert silent["log_mel_db"] == 0 and np.isnan(silent["spectral_convergence"])
    assert np.isnan(silent["log_mel_db_loud"])  # nothing is loud in silence


# ---------------------------------------------------------------------------- statistics


def test_the_bootstrap_interval_covers_the_mean_as_often_as_it_says():
    """Of 200 samples of 40, about 95 % of the intervals hold the true mean; more draws make a narrower one."""
    rng = np.random.default_rng(5)
    reports = [metrics.bootstrap(rng.exponential(2.0, 40), draws=400, seed=i) for i in range(200)]
    covered = np.mean([r["low"] <= 2.0 <= r["high"] for r in reports])
    assert 0.87 <= covered <= 0.99
    wide, narrow = (metrics.bootstrap(rng.normal(0, 1, n)) for n in (20, 2000))
    assert narrow["high"] - narrow["low"] == pytest.approx(2 * 1.96 / np.sqrt(2000), rel=0.1)
    assert wide["high"] - wide["low"] > 5 * (narrow["high"] - narrow["low"])
    assert (wide["count"], narrow["count"]) == (20, 2000)


def test_values_that_share_a_group_count_as_one():
    """Every value ten times over says no more than once; equal groups leave the mean what it is."""
    values = np.random.default_rng(6).normal(0, 1, 50)
    once, ten_times = metrics.bootstrap(values), np.repeat(values, 10)
    grouped = metrics.bootstrap(ten_times, groups=np.repeat(np.arange(50), 10))
    assert grouped | {"count": 50} == pytest.approx(once)
    alone = metrics.bootstrap(ten_times)  # taken for 500 values: sqrt(10) too sure
    assert grouped["high"] - grouped["low"] > 2.5 * (alone["high"] - alone["low"])


def test_codes_in_use_and_their_perplexity():
    assert code_report(np.array([[0, 1], [2, 3]]), 10) == {"size": 10, "used": 4, "perplexity": pytest.approx(4)}
    assert code_report(np.zeros((3, 3), int), 5)["perplexity"] == pytest.approx(1)


# ---------------------------------------------------------------------------- the ball


def court(row: int, column: int, with_ball: bool = True):
    """A black court with a ball of 2 x 1 pixels: uint8 [64, 64, 3], and the RAM that says where it is."""
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[60:62, 30:36] = frame[18:26, 4:60] = 180  # paddle and bricks
    if with_ball:
        frame[row : row + 2, column] = 200
    ram = np.zeros(128, np.uint8)
    ram[99], ram[101] = round(column / 64 * 160 + 48), round(row / 64 * 210 - 12)
    return frame, ram


def test_breakouts_ball_is_recalled_where_it_is_seen():
    places = [(r, c) for r in (34, 42, 50) for c in (12, 25, 38, 52)]
    truth, ram = (np.stack(x) for x in zip(*(court(*p) for p in places)))
    np.testing.assert_allclose(breakout_ball_position(ram, (64, 64)), places, atol=0.5)
    background = np.stack([court(*p, with_ball=False)[0] for p in places])
    recall = lambda seen: breakout_ball_recall([truth], [seen], [{"truth/ram": ram}])
    perfect, none = recall(truth), recall(background)
    assert perfect["frames"] == 12 and perfect["recall"] == 1 and perfect["false_alarms"] == 0
    assert none["recall"] == 0 and none["psnr"] == none["psnr_without"] == perfect["psnr_without"] < 20
    # Two pixels aside it is still recalled, but no better drawn than by nothing.
    aside = recall(np.roll(truth, 2, axis=2))
    assert aside["recall"] == 1 and aside["psnr"] < none["psnr"] < 40 < perfect["psnr"]
    half = np.where(np.arange(12)[:, None, None, None] < 6, truth, background)
    assert recall(half)["recall"] == 0.5
    assert recall(np.roll(truth, 16, axis=2))["recall"] == 0  # a ball somewhere else is no ball
    everywhere = recall(np.full_like(truth, 255))
    assert everywhere["recall"] == 1 and everywhere["false_alarms"] == 1  # what paints all is found out


def test_a_ball_that_is_not_in_play_is_not_asked_for():
    frame, ram = court(42, 30)
    ram[101] = 0
    assert breakout_ball_recall([frame[None]], [frame[None]], [{"truth/ram": ram[None]}]) == {"frames": 0}

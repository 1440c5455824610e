"""How much of the held-out picture and sound survives the tokenizers, beside baselines that flatter."""

import jax
import numpy as np

from oyster_jax.config import MediaSpec
from oyster_jax.evaluation import metrics
from oyster_jax.evaluation.lpips import Layer, lpips
from oyster_jax.evaluation.objects import breakout_ball_recall
from oyster_jax.models.video_tokenizer import frame_positions, to_uint8
from oyster_jax.models.world_model import World


@jax.jit
def reconstruct(world: World, video, audio):
    """uint8 [B, T, H, W, 3] and float32 [B, T, S] through both tokenizers: (video, audio, video codes, audio codes)."""
    position = frame_positions(*video.shape[:2])
    video_codes, _ = world.apply("video_tokenizer", video, position, method="encode")
    pixels, _ = world.apply("video_tokenizer", video_codes, position, method="decode")
    audio_codes, _ = world.apply("audio_tokenizer", audio, method="encode")
    sound, _ = world.apply("audio_tokenizer", audio_codes, method="decode")
    return to_uint8(pixels), sound.clip(-1, 1), video_codes, audio_codes


def evaluate_tokenizers(
    world: World, clips: list[dict], background: np.ndarray, source: str, layers: tuple[Layer, ...] | None = None
) -> dict:
    """Metrics over whole clips (dicts of arrays [T, …], as stored). `background`: the training data's median frame;
    `layers`: of LPIPS, if that is wanted."""
    media = world.config.media
    truth, seen, heard, sound, codes, truths = [], [], [], [], ([], []), []
    for clip in clips:
        audio = clip["audio"]
        video, wave, *tokens = jax.tree.map(
            lambda x: np.asarray(x[0]), reconstruct(world, clip["video"][None], audio[None])
        )
        truth.append(clip["video"])
        seen.append(video)
        heard.append(wave)
        sound.append(audio)
        truths.append({k: v for k, v in clip.items() if k.startswith("truth/")})
        for held, new in zip(codes, tokens):
            held.append(new)
    report = {
        "video": picture_report(np.concatenate(truth), np.concatenate(seen), background, layers=layers),
        "audio": sound_report(sound, heard, media),
        "video_codes": code_report(np.concatenate(codes[0]), world.config.video_tokenizer.codes),
        "audio_codes": code_report(np.concatenate(codes[1]), world.config.audio_tokenizer.quantizer.codebook_size),
    }
    if source == "ale:breakout":
        report["ball"] = breakout_ball_recall(truth, seen, truths)
    return report


def picture_report(
    truth: np.ndarray,
    seen: np.ndarray,
    background: np.ndarray,
    name: str = "tokenizer",
    layers: tuple[Layer, ...] | None = None,
) -> dict:
    """PSNR and SSIM of uint8 [X, H, W, 3], whole and on changed pixels, beside the static background's; and LPIPS of
    whole pictures where there are `layers` for it."""
    changed = metrics.changed_mask(truth, background)
    still = np.broadcast_to(background.astype(np.uint8), truth.shape)
    report = {"changed_share": float(changed.mean())}
    for key, other in ((name, seen), ("static_median", still)):
        alike = metrics.ssim_map(truth, other)
        each = metrics.ssim_where(alike, changed)
        report[key] = {
            "psnr": metrics.psnr(truth, other),
            "psnr_changed": metrics.psnr(truth, other, changed),
            "ssim": float(alike.mean()),
            "ssim_changed": float(np.nanmean(each)) if np.isfinite(each).any() else float("nan"),
        } | ({"lpips": float(lpips(layers, truth, other).mean())} if layers else {})
    return report


def sound_report(truth: list, heard: list, media: MediaSpec, name: str = "tokenizer") -> dict:
    """Log-mel distance in dB, over all clips and over the loud half of their frames, and spectral convergence over the
    clips that are not silent; beside silence's."""
    loudness = [np.sqrt((a**2).mean(-1)) for a in truth]
    threshold = np.median(np.concatenate(loudness))
    mean = lambda values: float(np.mean(values)) if values else float("nan")  # nothing is loud in silence
    report = {}
    for key, other in ((name, heard), ("silence", [np.zeros_like(a) for a in truth])):
        pairs = [metrics.log_mel_distance(a, b, media.sample_rate) for a, b in zip(truth, other)]
        loud = [
            (a[m > threshold], b[m > threshold]) for a, b, m in zip(truth, other, loudness) if (m > threshold).any()
        ]
        apart = np.array([metrics.spectral_convergence(b, a) for a, b in zip(truth, other)])
        report[key] = {
            "spectral_convergence": mean(list(apart[~np.isnan(apart)])),
            "log_mel_db": mean(pairs),
            "log_mel_db_loud": mean([metrics.log_mel_distance(a, b, media.sample_rate) for a, b in loud]),
        }
    return report


def code_report(codes: np.ndarray, size: int) -> dict:
    """Codes in use and their perplexity, two to their entropy (Jelinek et al. 1977)."""
    share = np.bincount(codes.reshape(-1), minlength=size) / codes.size
    used = share[share > 0]
    return {"size": size, "used": int((share > 0).sum()), "perplexity": float(np.exp(-(used * np.log(used)).sum()))}

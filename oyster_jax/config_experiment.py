"""What one file of `configs/` says: what to model, and how to train it. Frozen dataclasses, as in `config`."""

import dataclasses
import math
from dataclasses import dataclass

from oyster_jax.config import (
    LONGEST_SPECTRUM,
    ActionSpace,
    AudioTokenizerConfig,
    DynamicsConfig,
    LatentActionConfig,
    MediaSpec,
    VideoTokenizerConfig,
    WorldConfig,
)
from oyster_jax.config_sampling import SamplingConfig
from oyster_jax.errors import check, check_positive


@dataclass(frozen=True)
class StageConfig:
    """One training stage: optimizer, batches, and how often to log, evaluate and save."""

    steps: int = 1000
    batch: int = 8
    frames: int = 8  # T, frames of one training window
    learning_rate: float = 1e-3
    warmup: int = 100
    schedule: str = "cosine"  # or "wsd": warm-up, stable, linear decay
    decay: float = 0.2  # share of a wsd's steps, the last ones, over which its rate falls; 0: it holds to the end
    optimizer: str = "adamw"  # or "muon", or "sgd" for tests of exactness
    weight_decay: float = 0.01
    clip_norm: float = 1.0  # a larger gradient is cut to this norm; inf: never
    ema: float = 0.0  # 0: off
    loud: float = 0.0  # share of windows drawn around loud moments
    events: float = 0.0  # share of windows drawn around changes of prompt
    renew_every: int = 0  # of a codebook's tokenizer: steps after which unused codes begin anew, 0: never
    log_every: int = 20
    eval_every: int = 500
    save_every: int = 500

    def __post_init__(self):
        check_positive(self, "steps", "batch", "frames", "log_every", "eval_every", "save_every")
        check_positive(self, "learning_rate", "clip_norm")
        check(math.isfinite(self.learning_rate), f"learning_rate must be finite, got {self.learning_rate}")
        check(self.warmup >= 0, f"warmup must not be negative, got {self.warmup}")
        check(0 <= self.weight_decay < 1, f"weight_decay must lie in [0, 1), got {self.weight_decay}")
        check(self.schedule in ("cosine", "wsd"), f"schedule must be 'cosine' or 'wsd', got {self.schedule!r}")
        kinds = ("adamw", "muon", "sgd")
        check(self.optimizer in kinds, f"optimizer must be 'adamw', 'muon' or 'sgd', got {self.optimizer!r}")
        check(self.renew_every >= 0, f"renew_every must not be negative, got {self.renew_every}")
        for name in ("decay", "loud", "events"):
            check(0 <= getattr(self, name) <= 1, f"{name} is a share between 0 and 1, got {getattr(self, name)}")
        check(0 <= self.ema < 1, f"ema must lie in [0, 1), got {self.ema}")


@dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis; -1 takes all that remain."""

    data: int = -1
    fsdp: int = 1
    context: int = 1
    tensor: int = 1

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        return (self.data, self.fsdp, self.context, self.tensor)


@dataclass(frozen=True)
class TrainConfig:
    """The stages in their order, and what they share."""

    video_tokenizer: StageConfig = StageConfig()
    audio_tokenizer: StageConfig = StageConfig()
    latent_action: StageConfig = StageConfig()
    atlas: StageConfig = StageConfig()
    dynamics: StageConfig = StageConfig()
    motion_weight: float = 1.0  # weight of moving pixels in the video losses, 1: as much as the whole frame
    steadiness: float = 1.0  # weight of keeping the code of a patch that does not change, 0: free
    likeness: float = 10.0  # weight of one code for what is drawn alike in another light, see `frame_codes`; 0: free
    # Weight of a token that a picture's patches share, 1: as much as all of them. As one token of many it would hardly
    # be learnt what a prompt says of the light: prompts change seldom.
    shared_weight: float = 0.25
    few_hidden: float = 0.0  # share of frames of which few tokens are hidden, of what moves, see `random_masks`
    only_seen: bool = False  # a rollout draws a picture's codes only in places where the training clips show them
    cold_share: float = 0.2  # share of dynamics windows encoded from their own first frame
    labelled_frames: int = 1000  # labelled training frames that name the latent codes by the controls they mean
    workers: int = 0  # Grain worker processes; the batch order depends on it
    keep: int = 2  # checkpoints kept

    def __post_init__(self):
        check_positive(self, "keep")
        for name in ("motion_weight", "steadiness", "likeness", "shared_weight", "labelled_frames", "workers"):
            check(getattr(self, name) >= 0, f"train.{name} must not be negative, got {getattr(self, name)}")
        check(0 <= self.few_hidden <= 1, f"train.few_hidden must lie in [0, 1], got {self.few_hidden}")
        check(0 <= self.cold_share < 1, f"train.cold_share must lie in [0, 1), got {self.cold_share}")
        for name in ("latent_action", "atlas", "dynamics"):
            check(getattr(self, name).renew_every == 0, f"train.{name}.renew_every must be 0: only tokenizers renew")
        check(self.dynamics.loud == 0, "train.dynamics.loud must be 0: tokens do not say how loud they are")


@dataclass(frozen=True)
class ExperimentConfig:
    """One file of `configs/`: what to model and how to train it."""

    video_tokenizer: VideoTokenizerConfig = VideoTokenizerConfig()
    audio_tokenizer: AudioTokenizerConfig = AudioTokenizerConfig()
    latent_action: LatentActionConfig = LatentActionConfig()
    dynamics: DynamicsConfig = DynamicsConfig()
    sampling: SamplingConfig = SamplingConfig()
    train: TrainConfig = TrainConfig()
    mesh: MeshConfig = MeshConfig()
    seed: int = 0

    def __post_init__(self):
        check(0 <= self.seed < 2**31, f"seed must lie between 0 and {2**31 - 1}, got {self.seed}")


def resolve(experiment: ExperimentConfig, media: MediaSpec, actions: ActionSpace) -> WorldConfig:
    """The world that `experiment` makes of data with these sizes and actions; raises OysterError where they clash."""
    sizes = dict(height=media.height, width=media.width)
    video = dataclasses.replace(experiment.video_tokenizer, **sizes)
    audio = dataclasses.replace(experiment.audio_tokenizer, samples_per_frame=media.samples_per_frame)
    latent = dataclasses.replace(
        experiment.latent_action,
        samples_per_frame=media.samples_per_frame,
        audio_patch=math.gcd(experiment.latent_action.audio_patch, media.samples_per_frame),
        **sizes,
    )
    frames = experiment.train.audio_tokenizer.frames
    samples = frames * media.samples_per_frame
    check(
        samples >= LONGEST_SPECTRUM,
        f"train.audio_tokenizer.frames {frames}: windows of {samples} samples are shorter than the {LONGEST_SPECTRUM} "
        f"that the sound loss looks at together; set more frames",
    )
    played = latent.codes if experiment.dynamics.actions == "latent" else actions.sizes
    dynamics = dataclasses.replace(
        experiment.dynamics,
        video_tokens=video.tokens,
        video_columns=video.width // video.patch,
        video_shared=video.tokens - video.patches,
        audio_tokens=audio.tokens,
        video_codes=video.codes,
        audio_codes=audio.quantizer.codebook_size,
        action_sizes=played,
    )
    return WorldConfig(media, actions, video, audio, latent, dynamics, experiment.sampling)

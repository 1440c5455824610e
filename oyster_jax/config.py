"""Frozen dataclass configs, checked when built.

An experiment (`config_experiment`) says how to model; the data set says what (sizes, rates, actions). `resolve` joins
the two into the `WorldConfig` that is stored beside the parameters and that every module and function reads.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

from oyster_jax.config_sampling import SamplingConfig
from oyster_jax.errors import check, check_positive

MAX_PROMPT_BYTES = 256  # of UTF-8, in force at a time
MOVED = 2  # frames before the present one whose pictures a hidden token is told of at once, with what has just moved
LONGEST_SPECTRUM = 1024  # samples that the sound loss looks at together


def _check_layers(config, *names: str) -> None:
    """Only a video tokenizer can do without: it has layers of its own."""
    for name in names:
        check(getattr(config, name).layers > 0, f"{type(config).__name__}.{name} needs at least one layer")


# ---------------------------------------------------------------------------- what the data is


@dataclass(frozen=True)
class MediaSpec:
    """Rates and sizes of video and sound. `samples_per_frame` = sample_rate / fps is always a whole number."""

    fps: Fraction
    sample_rate: int
    height: int = 64
    width: int = 64

    def __post_init__(self):
        check(self.fps > 0, f"fps must be positive, got {self.fps}")
        check(self.height > 0 and self.width > 0, f"frame size must be positive, got {self.height}x{self.width}")
        samples = self.sample_rate / Fraction(self.fps)
        check(
            samples.denominator == 1 and samples > 0,
            f"sample_rate {self.sample_rate} / fps {self.fps} = {float(samples):g} samples a frame is not a whole "
            f"number; take a sample rate that is a multiple of the frame rate",
        )

    @property
    def samples_per_frame(self) -> int:
        return int(self.sample_rate / Fraction(self.fps))


@dataclass(frozen=True)
class ActionFactor:
    """One independent control, for instance heading, with a label for each of its values."""

    name: str
    labels: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ActionSpace:
    """A tuple of factors; an action is int32 [A], one value for each factor, or -1 for "no action"."""

    factors: tuple[ActionFactor, ...] = ()

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(f.size for f in self.factors)

    @property
    def size(self) -> int:
        """Number of distinct actions: the product of the factors' sizes."""
        return math.prod(self.sizes)

    def check(self, action) -> None:
        """Raises OysterError unless every value of `action` [..., A] lies in its factor (or is -1)."""
        import numpy as np

        action = np.asarray(action)
        check(
            action.ndim > 0 and action.shape[-1] == len(self.factors),
            f"an action of this world has {len(self.factors)} factors "
            f"({', '.join(f.name for f in self.factors)}), got shape {action.shape}",
        )
        whole = np.issubdtype(action.dtype, np.integer) or action.size == 0
        check(whole, f"an action is of whole numbers, got {action.dtype}")
        for i, factor in enumerate(self.factors):
            values = action[..., i]
            bad = values[(values < -1) | (values >= factor.size)]
            check(
                bad.size == 0,
                f"action factor '{factor.name}' takes 0..{factor.size - 1} (or -1 for none), got "
                f"{bad.flat[0] if bad.size else ''}",
            )


def latent_action_space(codes: tuple[int, ...]) -> ActionSpace:
    """The product codes of a latent action model as an action space."""
    return ActionSpace(tuple(ActionFactor(f"latent{i}", tuple(map(str, range(n)))) for i, n in enumerate(codes)))


# ---------------------------------------------------------------------------- how it is modelled


@dataclass(frozen=True)
class TransformerConfig:
    """An ST-transformer: `window` counts the frames seen by temporal attention, the present one included."""

    layers: int = 4
    width: int = 128
    heads: int = 4
    kv_heads: int = 0  # 0: as many as heads; fewer: grouped queries
    mlp_ratio: int = 4
    window: int = 8
    temporal_every: int = 1  # temporal attention in every n-th layer only; the others need no memory
    dtype: str = "float32"  # activations; parameters and softmax stay float32
    remat: bool = False  # recompute activations in the backward pass: less memory, a third more arithmetic
    scan_layers: bool = False  # compile one layer and loop over it: for deep stacks in training, never in a rollout

    def __post_init__(self):
        check_positive(self, "width", "heads", "mlp_ratio")
        check(self.layers >= 0, f"a transformer cannot have {self.layers} layers")
        check(self.layers > 0 or not self.scan_layers, "scan_layers needs layers to scan")
        check(self.window > 1, f"a transformer needs a window of two frames or more, got {self.window}")
        check(
            self.temporal_every > 0 and self.layers % self.temporal_every == 0,
            f"layers {self.layers} is not a multiple of temporal_every {self.temporal_every}",
        )
        check(
            self.width % (2 * self.heads) == 0,
            f"width {self.width} must be a multiple of twice the number of heads ({self.heads}): rotary angles "
            f"turn pairs of features",
        )
        check(
            self.kv_heads >= 0 and (self.kv_heads == 0 or self.heads % self.kv_heads == 0),
            f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}",
        )
        check(self.dtype in ("float32", "bfloat16"), f"dtype must be float32 or bfloat16, got {self.dtype!r}")

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    @property
    def groups(self) -> int:
        """Key/value heads actually made."""
        return self.kv_heads or self.heads

    @property
    def temporal_layers(self) -> int:
        """Layers with temporal attention: those that keep a cache."""
        return self.layers // self.temporal_every


@dataclass(frozen=True)
class QuantizerConfig:
    """`fsq`: finite scalar quantization with `levels`; `vq`: cosine codebook of `codes` vectors of `dim`."""

    kind: str = "fsq"
    levels: tuple[int, ...] = (8, 5, 5, 5)
    codes: int = 1024
    dim: int = 32

    def __post_init__(self):
        check(self.kind in ("fsq", "vq"), f"quantizer kind must be 'fsq' or 'vq', got {self.kind!r}")
        check(self.codebook_size <= 1 << 16, f"{self.codebook_size} codes do not fit the token cache's 16 bits")
        check(all(n >= 3 for n in self.levels), f"every FSQ level must be at least 3 (2 saturate), got {self.levels}")
        check(self.codes >= 2, f"a codebook needs at least 2 codes, got {self.codes}")

    @property
    def codebook_size(self) -> int:
        return math.prod(self.levels) if self.kind == "fsq" else self.codes

    @property
    def code_dim(self) -> int:
        return len(self.levels) if self.kind == "fsq" else self.dim


@dataclass(frozen=True)
class VideoTokenizerConfig:
    """Pixels to tokens and back. `height` and `width` come from the data; 0 until they are known."""

    patch: int = 8
    height: int = 0
    width: int = 0
    patch_layers: int = 0  # on each patch by itself, before the encoder and after the decoder, which may have none
    patch_mean: bool = True  # they are told the mean of a frame's patches; if not, still patches keep their tokens
    patch_place: bool = True  # a patch is told where it is; if not, what looks alike has one token wherever it goes
    frame_codes: int = 0  # of one token more a frame, for what its patches share, such as the light; 0: there is none
    encoder: TransformerConfig = TransformerConfig(layers=2)
    decoder: TransformerConfig = TransformerConfig(layers=2)
    quantizer: QuantizerConfig = QuantizerConfig()

    def __post_init__(self):
        check_positive(self, "patch")
        for name in ("encoder", "decoder"):
            layers = self.patch_layers + getattr(self, name).layers
            check(self.patch_layers >= 0 and layers > 0, f"the video tokenizer's {name} needs layers, or patch_layers")
        check(
            self.frame_codes == 0 or self.frame_codes >= 2,
            f"the video tokenizer's frame_codes are 0 or at least 2, got {self.frame_codes}",
        )
        check(self.codes <= 1 << 16, f"{self.codes} codes of patches and frames do not fit the token cache's 16 bits")
        check(
            self.height % self.patch == 0 and self.width % self.patch == 0,
            f"frame size {self.height}x{self.width} is not a multiple of the video tokenizer's patch {self.patch}",
        )

    @property
    def grid(self) -> tuple[int, int]:
        return self.height // self.patch, self.width // self.patch

    @property
    def patches(self) -> int:
        """Patches of a frame, each with a token."""
        return self.grid[0] * self.grid[1]

    @property
    def tokens(self) -> int:
        """N, video tokens a frame: of its patches and, last, of what they share, if that has one."""
        return self.patches + bool(self.frame_codes)

    @property
    def codes(self) -> int:
        """Codes that a token may be: those of patches, then those of frames."""
        return self.quantizer.codebook_size + self.frame_codes


@dataclass(frozen=True)
class AudioTokenizerConfig:
    """Sound to tokens and back; one token covers one hop of `samples_per_frame / tokens` samples.

    The decoder writes `overlap` samples past its hop and cross-fades them into the next one, so that hops (and frames)
    meet without a click and nothing waits for the future. `samples_per_frame` comes from the data; 0 until it is known.
    """

    tokens: int = 8
    samples_per_frame: int = 0
    width: int = 128
    layers: int = 4
    kernel: int = 3
    context: int = 384  # samples before the hop that the encoder sees at once
    overlap: int = 32
    dtype: str = "float32"
    quantizer: QuantizerConfig = QuantizerConfig()

    def __post_init__(self):
        check_positive(self, "tokens", "width", "layers", "kernel")
        check(self.context >= 0, f"AudioTokenizerConfig.context must not be negative, got {self.context}")
        check(
            self.samples_per_frame % self.tokens == 0,
            f"{self.samples_per_frame} sound samples a frame do not divide into {self.tokens} audio tokens",
        )
        check(
            self.overlap > 0 and (self.overlap <= self.hop or not self.samples_per_frame),
            f"the decoder's overlap {self.overlap} must lie within its hop of {self.hop}",
        )
        check(self.dtype in ("float32", "bfloat16"), f"dtype must be float32 or bfloat16, got {self.dtype!r}")

    @property
    def hop(self) -> int:
        return self.samples_per_frame // self.tokens


@dataclass(frozen=True)
class LatentActionConfig:
    """Infers what was done between two frames as a product of small codes, `(8,)` in the Genie paper.

    `height`, `width` and `samples_per_frame` come from the data; 0 until they are known.
    """

    codes: tuple[int, ...] = (8,)
    code_dim: int = 8
    patch: int = 8
    audio_patch: int = 128
    height: int = 0
    width: int = 0
    samples_per_frame: int = 0
    encoder: TransformerConfig = TransformerConfig(layers=2, window=4)
    decoder: TransformerConfig = TransformerConfig(layers=2, window=4)

    def __post_init__(self):
        check_positive(self, "code_dim", "patch", "audio_patch")
        _check_layers(self, "encoder", "decoder")
        check(len(self.codes) > 0 and all(n >= 2 for n in self.codes), f"latent action codes {self.codes} must be ≥ 2")
        check(
            self.height % self.patch == 0 and self.width % self.patch == 0,
            f"frame size {self.height}x{self.width} is not a multiple of the latent action model's patch {self.patch}",
        )
        check(
            self.samples_per_frame % self.audio_patch == 0,
            f"{self.samples_per_frame} samples a frame are not a multiple of audio_patch {self.audio_patch}",
        )


@dataclass(frozen=True)
class TextEncoderConfig:
    """UTF-8 bytes to `tokens` prompt tokens."""

    bytes_per_patch: int = 4
    gram_buckets: int = 2048  # that runs of four bytes are hashed to
    tokens: int = 4
    width: int = 64
    layers: int = 2
    heads: int = 4

    def __post_init__(self):
        check_positive(self, "bytes_per_patch", "gram_buckets", "tokens", "width", "layers", "heads")
        check(
            MAX_PROMPT_BYTES % self.bytes_per_patch == 0,
            f"the {MAX_PROMPT_BYTES} bytes of a prompt are not a multiple of bytes_per_patch {self.bytes_per_patch}",
        )
        check(self.width % self.heads == 0, f"text width {self.width} is not a multiple of heads {self.heads}")


@dataclass(frozen=True)
class DynamicsConfig:
    """The next frame's tokens from the past, an action and a prompt. Sizes marked * come from the other configs."""

    transformer: TransformerConfig = TransformerConfig()
    text: TextEncoderConfig = TextEncoderConfig()
    video_tokens: int = 64  # *
    video_columns: int = 8  # *, of the grid that the picture's tokens make
    video_shared: int = 0  # *, how many of them, the last ones, are of no place in that grid
    audio_tokens: int = 8  # *
    video_codes: int = 1000  # *
    audio_codes: int = 1000  # *
    action_sizes: tuple[int, ...] = ()  # *
    stood: int = 0  # frames, at most, that a token is told to have stood in its place, to count by; 0: it is not told
    atlas: int = 0  # side of a map, in tokens, of a world whose pictures scroll over it, see `Atlas`; 0: there is none
    code_prior: bool = False  # logits for all codes straight from a prompt's words, see `CodePrior`
    actions: str = "true"  # or "latent": the latent action model's codes
    cotrain_latent: bool = False  # train the latent action model in this stage instead of before it
    action_dropout: float = 0.1
    prompt_dropout: float = 0.1
    past_dropout: float = 0.1  # of frames told nothing of the past, as a first one is: prompts are learnt from these
    corruption: float = 0.2  # share of frames whose committed tokens are partly what is usual there, in training

    def __post_init__(self):
        _check_layers(self, "transformer")
        check(self.actions in ("true", "latent"), f"dynamics.actions must be 'true' or 'latent', got {self.actions!r}")
        for name in ("action_dropout", "prompt_dropout", "past_dropout", "corruption"):
            check(0 <= getattr(self, name) <= 1, f"dynamics.{name} is a share between 0 and 1")
        check(self.stood >= 0, f"dynamics.stood is a number of frames, got {self.stood}")
        check(self.atlas >= 0, f"dynamics.atlas is a number of tokens, got {self.atlas}")
        check(
            not (self.atlas and self.cotrain_latent),
            "dynamics.atlas and cotrain_latent do not go together: a map is learnt before there are latent actions",
        )

    @property
    def look_back(self) -> int:
        """Frames before the present one whose tokens it is told of at once."""
        return max(self.stood, MOVED)

    @property
    def frame_tokens(self) -> int:
        """Tokens of one frame in the joint sequence [action | video | audio]."""
        return 1 + self.video_tokens + self.audio_tokens


@dataclass(frozen=True)
class WorldConfig:
    """Everything that a trained world is, except its numbers."""

    media: MediaSpec
    actions: ActionSpace
    video_tokenizer: VideoTokenizerConfig
    audio_tokenizer: AudioTokenizerConfig
    latent_action: LatentActionConfig
    dynamics: DynamicsConfig
    sampling: SamplingConfig = SamplingConfig()

    @property
    def played_actions(self) -> ActionSpace:
        """The space that `step` takes: the true actions, or the latent codes where the world was trained on those."""
        if self.dynamics.actions == "latent":
            return latent_action_space(self.latent_action.codes)
        return self.actions

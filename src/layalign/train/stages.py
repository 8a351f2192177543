"""The two training stages as values of one configuration."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from layalign.chat_format import QUESTION
from layalign.errors import ConfigError
from layalign.fields import differing, from_mapping
from layalign.train.limits import SCHEDULES, Limits, Schedule, make_limits

STAGE_NAME = "stage.json"


class Stage(Enum):
    """What a stage teaches."""

    TRANSLATION = "translation"
    """To understand the encoder: parallel sentences into English, without LLM text."""

    TASK = "task"
    """To use it: questions in many languages, English answers, LLM text beside the encoder."""


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """How one stage is trained.

    The defaults are the paper's task stage; :meth:`paper` gives either stage. Of the limits
    ``epochs``, ``max_…`` whichever comes first ends the stage, and the learning-rate schedule
    runs over the largest used fraction of any of them.
    """

    lr: float = 3e-5
    """Peak learning rate of everything but the gates."""

    gate_lr: float | None = None
    """Peak learning rate of the gates, which have no weight decay; None for ``lr``."""

    batch_size: int = 128
    """Examples per update."""

    micro_batch_size: int | None = None
    """Examples per forward pass, a divisor of ``batch_size``; gradients of the rest are added up.
    None for ``batch_size``. It changes memory and speed, not the result."""

    epochs: float | None = 3.0
    """Limit: passes over the training set, may be a fraction; None for no limit."""

    max_updates: int | None = None
    """Limit: optimizer updates."""

    max_examples: int | None = None
    """Limit: examples, counted again when they are read again."""

    max_tokens: int | None = None
    """Limit: encoder and language-model tokens, without padding."""

    max_minutes: float | None = None
    """Limit: wall-clock minutes; evaluation and checkpoints are included, and so is tokenising
    what is on disk."""

    max_flops: float | None = None
    """Limit: floating-point operations, as :mod:`layalign.train.operations` estimates them."""

    warmup: float = 0.05
    """Share of the stage over which the learning rate rises."""

    schedule: Schedule = "cosine"
    """How the learning rate falls afterwards: ``cosine``, ``linear`` or ``constant``."""

    weight_decay: float = 3e-7
    """Decoupled weight decay of everything but the gates."""

    betas: tuple[float, float] = (0.8, 0.999)
    """AdamW's decay rates of the two moments."""

    eps: float = 1e-8
    """AdamW's epsilon."""

    max_grad_norm: float = 1.0
    """Gradients of a larger norm are scaled down to it; 0 for never."""

    embedding_noise: float | None = None
    """Strength of NEFTune's uniform noise on the word embeddings (Jain et al., arXiv 2310.05914),
    only for fine-tuning the language model itself. A model that has learned to read through noise
    reads soft tokens, which are never quite word embeddings, far better."""

    lora_rank: int | None = None
    """Only for fine-tuning the language model itself: train a LoRA of this rank, which is a small
    file and leaves the model's own weights alone; None to train all of them."""

    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Arithmetic: ``auto`` is the type that the backbones were loaded in; ``bfloat16`` also works
    on float32 backbones (autocast). Trained parameters are always float32."""

    prompt_template: str | None = None
    """Language-model text before the target; None for the processor's, ``""`` for none."""

    text_input: bool = True
    """Whether the language model reads the question too; False drops it from the template."""

    text_dropout: float = 0.0
    """Share of the examples whose question only the encoder reads, drawn once for each example.
    Text that the language model understands by itself is a shortcut: it teaches nothing about soft
    tokens. Not in the paper."""

    encoder_max_length: int | None = None
    """Longest encoder input, tokens; None for the processor's."""

    prompt_max_length: int | None = None
    """Longest prompt, tokens; None for the processor's."""

    target_max_length: int | None = None
    """Longest target, tokens; None for the processor's."""

    gradient_checkpointing: bool = False
    """Compute the language model's activations twice to save memory."""

    group_by_length: bool = True
    """Put examples of similar length into one update (less padding, same examples)."""

    eval_every: int = 500
    """Updates between checkpoints, each after an evaluation on the development set if any."""

    keep_checkpoints: int = 2
    """Checkpoints kept: the last ones. An old one is deleted when a new one is complete and has
    been read back."""

    keep_best: bool = True
    """Keep the checkpoint that is best on the development set as well, and end with its weights;
    False ends with the last ones. Fine-tuning the language model always does that."""

    max_bad_steps: int = 3
    """An update whose loss or gradients are no numbers is not made, and its batch is saved; after
    this many in a row the stage stops."""

    seed: int = 0
    """Seed of the order of examples and of dropout."""

    def __post_init__(self) -> None:
        """Check every field."""
        for name in _POSITIVE:
            self._check(name, "more than 0", lambda value: value is None or 0 < value < math.inf)
        self._check("seed", f"from 0 to {_MAX_SEED}", lambda value: 0 <= value <= _MAX_SEED)
        for name in ("weight_decay", "max_grad_norm"):
            self._check(name, "0 or more", lambda value: 0 <= value < math.inf)
        self._check("warmup", "from 0 to below 1", lambda value: 0 <= value < 1)
        self._check("text_dropout", "from 0 to 1", lambda value: 0 <= value <= 1)
        self._check("betas", "from 0 to below 1", lambda value: all(0 <= b < 1 for b in value))
        self._check("schedule", f"one of {', '.join(SCHEDULES)}", SCHEDULES.__contains__)
        self._check("dtype", f"one of {', '.join(_DTYPES)}", _DTYPES.__contains__)
        self._check(
            "micro_batch_size",
            f"a divisor of batch_size, which is {self.batch_size}",
            lambda value: value is None or self.batch_size % value == 0,
        )
        if all(getattr(self, name) is None for name in _LIMITS):
            raise ConfigError(f"the stage has no end; set one of {', '.join(_LIMITS)}")

    def _check(self, name: str, expected: str, fits: Callable[[Any], bool]) -> None:
        value = getattr(self, name)
        if not fits(value):
            raise ConfigError(f"{name} is {value!r}; expected {expected}")

    @classmethod
    def paper(cls, stage: Stage, **changes: Any) -> StageConfig:
        """Settings of the paper for one stage.

        Source: LayAlign (Ruan et al., Findings of NAACL 2025), section 4.1.1; optimiser and
        clipping from the published scripts.

        Args:
            stage: Which.
            **changes: Fields to set differently.
        """
        return cls(**{**_PAPER[stage], **changes})

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], *, stage: Stage = Stage.TASK, where: str = ""
    ) -> StageConfig:
        """Read plain values over the paper's settings of a stage.

        Raises:
            ConfigError: A key is unknown or a value is not valid; named with ``where`` in front.
        """
        return from_mapping(cls, values, where, base=cls.paper(stage))

    def to_dict(self) -> dict[str, Any]:
        """Plain values that :meth:`from_dict` reads back."""
        return {**dataclasses.asdict(self), "betas": list(self.betas)}

    def save(self, folder: Path) -> None:
        """Write the configuration into a checkpoint."""
        text = json.dumps(self.to_dict(), ensure_ascii=False, indent=2)
        (folder / STAGE_NAME).write_text(text + "\n", encoding="utf-8")

    def check_same(self, folder: Path) -> None:
        """See that a checkpoint is from the same stage, which may be made longer or shorter.

        Raises:
            ConfigError: It was begun with other settings.
        """
        text = (folder / STAGE_NAME).read_text(encoding="utf-8")
        found = StageConfig.from_dict(json.loads(text)).to_dict()
        changed = [key for key in differing(self.to_dict(), found) if key not in _MAY_CHANGE]
        if changed:
            raise ConfigError(
                f"{folder} was begun with other settings, in {', '.join(changed)}; set them back, "
                "or choose another output_dir"
            )

    @property
    def examples_per_forward(self) -> int:
        """``micro_batch_size`` with its default filled in."""
        return self.micro_batch_size or self.batch_size

    def passes_of_each(self, processes: int) -> int:
        """Forward passes that each of several processes makes for one update.

        Raises:
            ConfigError: The batch cannot be divided among them.
        """
        per_step = self.examples_per_forward * processes
        if self.batch_size % per_step:
            raise ConfigError(
                f"batch_size {self.batch_size} cannot be shared by {processes} processes with "
                f"micro_batch_size {self.examples_per_forward}; make it a multiple of {per_step}"
            )
        return self.batch_size // per_step

    def template(self, default: str) -> str:
        """The prompt template of this stage.

        Args:
            default: The processor's.
        """
        chosen = default if self.prompt_template is None else self.prompt_template
        return chosen if self.text_input else chosen.replace(QUESTION, "")

    def limits(self, n_examples: int) -> Limits:
        """When the stage ends, for a training set of that many examples."""
        return make_limits(
            n_examples=n_examples,
            batch_size=self.batch_size,
            epochs=self.epochs,
            max_updates=self.max_updates,
            max_examples=self.max_examples,
            max_tokens=self.max_tokens,
            max_minutes=self.max_minutes,
            max_flops=self.max_flops,
        )


_MAX_SEED = 2**32 - 1  # NumPy's
_DTYPES = ("auto", "bfloat16", "float32")
_LIMITS = ("epochs", "max_updates", "max_examples", "max_tokens", "max_minutes", "max_flops")
HARMLESS = ("micro_batch_size", "gradient_checkpointing")
"""What changes memory and speed alone, and so may change when a run goes on."""

_MAY_CHANGE = (*_LIMITS, *HARMLESS)
_POSITIVE = (
    *(
        "lr",
        "gate_lr",
        "eps",
        "embedding_noise",
        "lora_rank",
        "batch_size",
        "micro_batch_size",
        *_LIMITS,
    ),
    *("encoder_max_length", "prompt_max_length", "target_max_length"),
    *("eval_every", "keep_checkpoints", "max_bad_steps"),
)
_PAPER: dict[Stage, dict[str, Any]] = {
    Stage.TRANSLATION: {"lr": 4e-5, "prompt_template": ""},
    Stage.TASK: {"lr": 3e-5},
}

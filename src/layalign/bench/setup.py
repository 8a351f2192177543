"""What is measured: two backbones, real or with random weights, and what they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from layalign.errors import ConfigError, reason
from layalign.model import LayAlignModel
from layalign.model.backbones import encoder_half, load_language_model, outline_language_model
from layalign.model.sequence import IGNORE_INDEX
from layalign.model.sizes import backbone_config
from layalign.train.footprint import Lengths

DTYPES = ("float32", "bfloat16", "float16")
_FIRST_ID = 3
_GATE = 0.1  # standard deviation of the opened gates

LENGTHS = Lengths(encoder=64, prompt=64, target=64)
"""What every example has if nothing else is said: a question of some sentences."""

Progress = Callable[[str], None]
"""Told what is measured next."""


def silent(what: str) -> None:
    """Progress that nobody wants to see."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Two backbones and where they are run; plain values, so that a new process can be told."""

    encoder: str
    """Folder, hub id or embedded model; with random weights all that
    :func:`layalign.model.sizes.backbone_config` understands."""

    llm: str
    """The same of the language model."""

    random_weights: bool = False
    """Take nothing but the sizes."""

    dtype: str = "float32"
    """Arithmetic type of the backbones, one of :data:`DTYPES`."""

    device: str = "cpu"
    """``cpu``, ``cuda``, ``cuda:1`` …"""

    seed: int = 0
    """Of weights, gates and tokens."""

    def __post_init__(self) -> None:
        """Check type and device.

        Raises:
            ConfigError: Either is not known here.
        """
        if self.dtype not in DTYPES:
            raise ConfigError(f"dtype is {self.dtype!r}; expected one of {', '.join(DTYPES)}")
        try:
            torch.zeros(1, device=self.device).item()
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise ConfigError(
                f"device {self.device!r} cannot be used here: {reason(error)}; leave it out for "
                "the best one there is"
            ) from error

    @property
    def torch_dtype(self) -> torch.dtype:
        """``dtype`` as torch has it."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    def language_model(self) -> PreTrainedModel:
        """Load or make the language model alone, frozen and in eval mode.

        Raises:
            LayAlignError: It cannot be loaded or made.
        """
        if self.random_weights:
            model = self._random_language_model()
        else:
            place = torch.device(self.device)
            model = load_language_model(self.llm, dtype=self.torch_dtype, device_map=place)
        model.requires_grad_(False)
        return model

    def model(self) -> LayAlignModel:
        """Join both backbones and open the gates.

        Closed ones take the same time, but leave the aligner's gradients zero.

        Raises:
            LayAlignError: A backbone cannot be loaded or made.
        """
        backbones: Any = (self.encoder, self.llm)
        if self.random_weights:
            backbones = (self._random_encoder(), self._random_language_model())
        with self._seeded():
            model = LayAlignModel.from_backbones(
                *backbones, dtype=self.torch_dtype, device_map=torch.device(self.device)
            )
            if model.gates is not None:
                torch.nn.init.normal_(model.gates, std=_GATE)
        return model

    def _random_encoder(self) -> PreTrainedModel:
        config = backbone_config(self.encoder, "encoder")
        half = encoder_half(config)
        with self._seeded(), torch.device(self.device), _default_dtype(self.torch_dtype):
            encoder = half.model_class(config, **half.options)
        encoder.eval()
        return encoder

    def _random_language_model(self) -> PreTrainedModel:
        config = backbone_config(self.llm, "language model")
        outline_language_model(config)  # says what is wrong with a configuration
        with self._seeded(), torch.device(self.device):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(
                config, dtype=self.torch_dtype
            )
        model.eval()
        return model

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """Draw the same numbers every time, and leave the random state as it was."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            yield


def random_ids(vocabulary: int, shape: tuple[int, int], seed: int = 0) -> Tensor:
    """Tokens of a vocabulary, without the first few, which are often special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(_FIRST_ID, vocabulary, shape, generator=generator)


def usual_device() -> str:
    """A GPU if there is one, else the processor."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def usual_dtype(device: str) -> str:
    """Arithmetic type that one would choose on a device."""
    return "float32" if torch.device(device).type == "cpu" else "bfloat16"


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Make weights in a type from the start: twice the memory may not be there."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def make_inputs(
    model: LayAlignModel, lengths: Lengths, batch: int, *, targets: bool = False, seed: int = 0
) -> dict[str, Tensor]:
    """Random tokens for a batch in which every example has the same lengths.

    Args:
        model: For its vocabularies and its device.
        lengths: Of each example; the target counts with ``targets`` only.
        batch: Examples.
        targets: Append targets to the text, with their labels.
        seed: Of the tokens.

    Returns:
        Arguments of the model's ``forward``, or without targets of its ``generate``.

    Raises:
        ConfigError: The encoder cannot read as many tokens.
    """
    longest = getattr(model.config.encoder_config, "max_position_embeddings", None)
    if longest is not None and lengths.encoder > longest:
        raise ConfigError(
            f"the encoder's input has {lengths.encoder} tokens; expected at most {longest}, which "
            "is all that this encoder can read"
        )
    shape, device = (batch, lengths.encoder), model.device
    ids = random_ids(model.config.encoder_config.vocab_size, shape, seed).to(device)
    inputs = {"encoder_input_ids": ids, "encoder_attention_mask": torch.ones_like(ids)}
    length = lengths.prompt + targets * lengths.target
    if length:
        text = random_ids(model.config.text_config.vocab_size, (batch, length), seed).to(device)
        inputs |= {"input_ids": text, "attention_mask": torch.ones_like(text)}
    if targets:
        labels = text.clone()
        labels[:, : lengths.prompt] = IGNORE_INDEX
        inputs["labels"] = labels
    return inputs

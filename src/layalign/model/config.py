"""Configuration of the composite model: two backbones and the parts trained between them."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Sequence
from typing import Any, Literal, cast

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from layalign.errors import ConfigError, nearest

AlignerKind = Literal["linear", "mlp", "none"]
ALIGNERS: tuple[str, ...] = ("linear", "mlp", "none")


def _as_config(value: PreTrainedConfig | dict[str, Any] | None) -> PreTrainedConfig | None:
    if not isinstance(value, dict):
        return copy.deepcopy(value)  # a loaded backbone keeps its own: ours may be changed
    model_type = value.get("model_type", "")
    if model_type not in CONFIG_MAPPING:
        raise ConfigError(
            f"backbone configuration has model_type {model_type!r}, which this version of "
            "transformers does not know; install a newer transformers"
        )
    return CONFIG_MAPPING[model_type](**value)


def _as_list(layers: Sequence[int] | None) -> list[int]:
    return cast("list[int]", None if layers is None else list(layers))  # None until `_check`


class LayAlignConfig(PreTrainedConfig):
    """What :class:`LayAlignModel` is made of.

    Sizes are not stored: they follow from the two sub-configurations (see :attr:`d_enc`,
    :attr:`d_llm`, :attr:`n_enc_layers`, :attr:`n_llm_layers`).

    Args:
        encoder_config: Configuration of the multilingual encoder.
        text_config: Configuration of the language model. The key is the one that transformers'
            ``get_text_config`` looks for, so that caches and generation find the decoder.
        encoder: Path or hub id from which the encoder's weights were read.
        encoder_revision: Hub revision of the encoder, if any.
        language_model: Path or hub id from which the language model's weights were read.
        language_model_revision: Hub revision of the language model, if any.
        fingerprints: Short hashes of both backbones' weights, keyed ``encoder`` and
            ``language_model``; a checkpoint refuses other weights.
        encoder_layers: Encoder hidden states that feed the aligner; 0 is the embedding output,
            ``n_enc_layers`` the last one. Default: ``0 … n_enc_layers - 1`` as in the published
            code; the last state reaches the LLM through the adapter.
        language_layers: LLM layers with cross attention. Default: every softmax-attention layer.
        aligner: ``"linear"`` (mix, project), ``"mlp"`` (mix, project, refine) or ``"none"``: soft
            tokens alone and no cross attention, as in MindMerger (Huang et al., 2024); both lists
            of layers are empty then.
        adapter_width: Width of the adapter's hidden layer. Default: ``2 * d_enc``.
        mask_encoder_padding: Keep padded encoder positions out of the cross attention. The
            published code attends to them; ``False`` restores that.
        mask_position_ids: Count LLM positions from the first real token in training too, as
            generation does. The published training code counts padding; ``False`` restores that.
        frozen_backbones_eval: Keep both backbones in eval mode while training (no dropout in
            frozen parts). The published training code leaves dropout on; ``False`` restores that.
        bos_token_id: Token put in front of everything; ``None`` for a model without one. Default:
            the language model's.
    """

    model_type = "layalign"
    sub_configs = {"encoder_config": AutoConfig, "text_config": AutoConfig}  # noqa: RUF012

    def __init__(
        self,
        encoder_config: PreTrainedConfig | dict[str, Any] | None = None,
        text_config: PreTrainedConfig | dict[str, Any] | None = None,
        *,
        encoder: str = "",
        encoder_revision: str | None = None,
        language_model: str = "",
        language_model_revision: str | None = None,
        fingerprints: dict[str, str] | None = None,
        encoder_layers: Sequence[int] | None = None,
        language_layers: Sequence[int] | None = None,
        aligner: AlignerKind = "linear",
        adapter_width: int | None = None,
        mask_encoder_padding: bool = True,
        mask_position_ids: bool = True,
        frozen_backbones_eval: bool = True,
        **kwargs: Any,
    ) -> None:
        """Check the fields and fill in the defaults that the sub-configurations imply."""
        # Only the empty configuration, with which transformers compares others, has None here.
        self.encoder_config = cast(PreTrainedConfig, _as_config(encoder_config))
        self.text_config = cast(PreTrainedConfig, _as_config(text_config))
        self.encoder = encoder
        self.encoder_revision = encoder_revision
        self.language_model = language_model
        self.language_model_revision = language_model_revision
        self.fingerprints = dict(fingerprints or {})
        self.encoder_layers = _as_list(encoder_layers)
        self.language_layers = _as_list(language_layers)
        self.aligner = aligner
        self.adapter_width = cast(int, adapter_width)
        self.mask_encoder_padding = mask_encoder_padding
        self.mask_position_ids = mask_position_ids
        self.frozen_backbones_eval = frozen_backbones_eval
        if self.text_config is not None:
            kwargs.setdefault("bos_token_id", self.text_config.bos_token_id)
            self._check()
        kwargs.setdefault("tie_word_embeddings", False)
        super().__init__(**kwargs)

    def _check(self) -> None:
        if self.aligner not in ALIGNERS:
            raise ConfigError(f"aligner is {self.aligner!r}; expected one of {', '.join(ALIGNERS)}")
        self._check_layers()
        if self.adapter_width is None:
            self.adapter_width = 2 * self.d_enc
        if self.adapter_width < 1:
            raise ConfigError(f"adapter_width is {self.adapter_width}; expected at least 1")

    def _check_layers(self) -> None:
        if self.aligner == "none":
            for name in ("encoder_layers", "language_layers"):
                if getattr(self, name):
                    raise ConfigError(
                        f"{name} is {getattr(self, name)}, but without an aligner no layers are "
                        "joined; leave it out, or choose another aligner"
                    )
                setattr(self, name, [])
            return
        if self.encoder_layers is None:
            self.encoder_layers = list(range(self.n_enc_layers))
        if self.language_layers is None:
            self.language_layers = list(range(self.n_llm_layers))
        _check_layers("encoder_layers", self.encoder_layers, self.n_enc_layers + 1)
        _check_layers("language_layers", self.language_layers, self.n_llm_layers)

    @property
    def d_enc(self) -> int:
        """Width of the encoder's hidden states."""
        return int(self.encoder_config.hidden_size)

    @property
    def n_enc_layers(self) -> int:
        """Number of encoder blocks; there is one more hidden state than blocks."""
        config = self.encoder_config
        # For an encoder-decoder `num_hidden_layers` may mean the decoder: prefer its own name.
        return int(getattr(config, "encoder_layers", None) or config.num_hidden_layers)

    @property
    def d_llm(self) -> int:
        """Width of the language model's residual stream."""
        return int(self.text_config.hidden_size)

    @property
    def n_llm_layers(self) -> int:
        """Number of language-model layers."""
        return int(self.text_config.num_hidden_layers)


def check_field_names(names: Iterable[str]) -> None:
    """Refuse names that are no field of :class:`LayAlignConfig`.

    Raises:
        ConfigError: A name is not known; the nearest one is suggested.
    """
    known = [*inspect.signature(LayAlignConfig.__init__).parameters, "bos_token_id"]
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown model setting {name!r}{nearest(name, known)}")


def _check_layers(name: str, layers: Sequence[int], count: int) -> None:
    if not layers:
        raise ConfigError(f"{name} is empty; expected at least one index from 0 to {count - 1}")
    wrong = [i for i in layers if not isinstance(i, int) or not 0 <= i < count]
    if wrong or len(set(layers)) != len(layers):
        raise ConfigError(
            f"{name} is {list(layers)}; expected different whole numbers from 0 to {count - 1}"
        )

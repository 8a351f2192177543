"""Configuration of the composite model: two backbones and the parts trained between them."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast, get_type_hints

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from layalign.errors import ConfigError, nearest
from layalign.fields import convert, from_mapping
from layalign.model import switches
from layalign.model.switches import MEAN, AdapterKind, AlignerKind, GateKind, LoraSettings

_PLAIN = (
    *("encoder", "encoder_revision", "language_model", "language_model_revision", "encoder_mean"),
    *("fingerprints", "aligner", "aligner_width", "adapter", "adapter_width", "gate"),
    *("mask_encoder_padding", "mask_position_ids", "frozen_backbones_eval"),
)


def _as_config(value: PreTrainedConfig | dict[str, Any] | None) -> PreTrainedConfig | None:
    if not isinstance(value, dict):
        return copy.deepcopy(value)  # a loaded backbone keeps its own: ours may be changed
    model_type = str(value.get("model_type", ""))
    if model_type not in CONFIG_MAPPING:
        raise ConfigError(
            f"backbone configuration has model_type {model_type!r}, which this version of "
            "transformers does not know; install a newer transformers"
        )
    return CONFIG_MAPPING[model_type](**value)


def _as_list(layers: Sequence[int] | str | None) -> list[int]:
    chosen = layers if layers is None or isinstance(layers, str) else list(layers)
    return cast("list[int]", chosen)  # until `_check`


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
            code; the last state reaches the LLM through the adapter. Words (``last``, ``mean``,
            ``first:K``, ``middle:K``, ``last:K``) choose among the default ones and become a list;
            see :func:`layalign.model.switches.encoder_layers`.
        encoder_mean: Mix nothing but the unweighted mean of these states. ``encoder_layers="mean"``
            sets it, with all the default states.
        language_layers: LLM layers with cross attention. Default: every softmax-attention layer.
        aligner: ``"linear"`` (mix, project), ``"mlp"`` (mix, project, refine) or ``"none"``: soft
            tokens alone and no cross attention, as in MindMerger (Huang et al., 2024); both lists
            of layers are empty then.
        aligner_width: Width of one more layer of the aligner, before the one that changes to the
            LLM's width; None for no such layer. With ``d_enc`` it has the parameters of the
            paper's larger aligner.
        adapter: ``"mlp"`` (two layers), ``"linear"`` (one, as in LangBridge) or ``"none"``: no soft
            tokens and no boundary, the encoder speaks through the cross attention alone.
        adapter_width: Width of the hidden layer of the adapter ``"mlp"``. Default: ``2 * d_enc``.
        gate: ``"scalar"`` (one number per fused layer), ``"head"`` (one per attention head) or
            ``"hidden"`` (a number and a linear map of what the layer's attention reads, so that
            every position has a gate of its own).
        lora: Fields of :class:`layalign.model.switches.LoraSettings`: a LoRA on the language model,
            trained with the rest; None for none.
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
        encoder_layers: Sequence[int] | str | None = None,
        encoder_mean: bool = False,
        language_layers: Sequence[int] | None = None,
        aligner: AlignerKind = "linear",
        aligner_width: int | None = None,
        adapter: AdapterKind = "mlp",
        adapter_width: int | None = None,
        gate: GateKind = "scalar",
        lora: LoraSettings | Mapping[str, Any] | None = None,
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
        self.fingerprints = fingerprints or {}
        self.encoder_layers = _as_list(encoder_layers)
        self.encoder_mean = encoder_mean
        self.language_layers = _as_list(language_layers)
        self.aligner = aligner
        self.aligner_width = aligner_width
        self.adapter = adapter
        self.adapter_width = adapter_width
        self.gate = gate
        self.lora = None if lora is None else _plain_lora(lora)
        self.mask_encoder_padding = mask_encoder_padding
        self.mask_position_ids = mask_position_ids
        self.frozen_backbones_eval = frozen_backbones_eval
        if self.text_config is not None:
            bos = kwargs.get("bos_token_id", self.text_config.bos_token_id)
            kwargs["bos_token_id"] = convert(bos, int | None, "bos_token_id")
            self._check()
        kwargs.setdefault("tie_word_embeddings", False)
        super().__init__(**kwargs)

    def _check(self) -> None:
        hints = get_type_hints(LayAlignConfig.__init__)
        for name in _PLAIN:
            setattr(self, name, convert(getattr(self, name), hints[name], name))
        switches.check_kinds(adapter=self.adapter, aligner=self.aligner, gate=self.gate)
        self._check_layers()
        switches.check_adapter_width(self.adapter, self.adapter_width)
        if self.adapter == "mlp" and self.adapter_width is None:
            self.adapter_width = 2 * self.d_enc
        for name in ("adapter_width", "aligner_width"):
            switches.check_width(name, getattr(self, name))

    def _check_layers(self) -> None:
        if self.aligner == "none":
            switches.check_without_aligner(vars(self))
            self.encoder_layers, self.language_layers = [], []
            return
        if isinstance(self.encoder_layers, str):
            self.encoder_mean = self.encoder_mean or self.encoder_layers == MEAN
            self.encoder_layers = switches.encoder_layers(self.encoder_layers, self.n_enc_layers)
        if self.encoder_layers is None:
            self.encoder_layers = list(range(self.n_enc_layers))
        if self.language_layers is None:
            self.language_layers = list(range(self.n_llm_layers))
        switches.check_layers("encoder_layers", self.encoder_layers, self.n_enc_layers + 1)
        switches.check_layers("language_layers", self.language_layers, self.n_llm_layers)

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

    @property
    def n_mixed(self) -> int:
        """Number of tensors that the aligner mixes: the encoder states, or their mean."""
        return 1 if self.encoder_mean else len(self.encoder_layers)

    @property
    def gate_shape(self) -> tuple[int, ...]:
        """Shape of ``gates``: ``(n_fused,)``, or ``(n_fused, n_heads)`` with a gate for each."""
        heads = (int(self.text_config.num_attention_heads),) if self.gate == "head" else ()
        return (len(self.language_layers), *heads)


def check_field_names(names: Iterable[str]) -> None:
    """Refuse names that are no field of :class:`LayAlignConfig`.

    Raises:
        ConfigError: A name is not known; the nearest one is suggested.
    """
    known = [*inspect.signature(LayAlignConfig.__init__).parameters, "bos_token_id"]
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown model setting {name!r}{nearest(name, known)}")


def _plain_lora(lora: LoraSettings | Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they are stored; what is missing gets its default."""
    if not isinstance(lora, LoraSettings):
        lora = from_mapping(LoraSettings, lora, "lora")
    values = dataclasses.asdict(lora)
    return {**values, "targets": None if lora.targets is None else list(lora.targets)}

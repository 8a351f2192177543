"""LayAlignModel: encode, align, fuse, and let the frozen language model speak."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from layalign.errors import ConfigError
from layalign.model.adapter import Adapter
from layalign.model.aligner import LayerWiseAligner
from layalign.model.backbones import (
    default_language_layers,
    encoder_positions,
    let_checkpoint,
    load_backbones,
    token_embedding,
)
from layalign.model.config import LayAlignConfig, check_field_names
from layalign.model.fused_layers import fuse_layers, project_states
from layalign.model.fusion import fusion_keywords
from layalign.model.generating import with_own_penalty
from layalign.model.hub import commit_of
from layalign.model.lora import insert_lora
from layalign.model.parts import is_trained
from layalign.model.sequence import (
    check_begun,
    check_encoder_length,
    check_same_shape,
    join_parts,
    kept_positions,
    label_positions,
    token_loss,
)
from layalign.model.storing import StoredModel
from layalign.model.switches import LoraSettings


class LayAlignModel(StoredModel, GenerationMixin):
    """A frozen multilingual encoder that speaks through a frozen language model.

    Create one with :meth:`from_backbones` or :meth:`from_pretrained`. What is trained is exactly
    :meth:`trainable_names`: the adapter with its boundary, the layer-wise aligner, the gates and,
    if ``config.lora`` says so, a LoRA on the language model.

    Source: LayAlign (Ruan et al., Findings of NAACL 2025), section 3.

    Args:
        config: What the model is made of.
        encoder: The loaded encoder.
        language_model: The loaded causal language model. Its attention implementation is set to
            the fused form of the one it was loaded with; called on its own it computes exactly
            what it did before, until a LoRA on it is trained.
    """

    config: LayAlignConfig
    config_class = LayAlignConfig
    base_model_prefix = "layalign"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True

    def __init__(
        self,
        config: LayAlignConfig,
        encoder: PreTrainedModel,
        language_model: PreTrainedModel,
    ) -> None:
        """Join two loaded backbones; the new parts are created in float32 and untrained."""
        super().__init__(config)
        self.encoder = encoder
        self.language_model = language_model
        device = token_embedding(language_model).weight.device
        self.adapter = Adapter(config).to(device) if config.adapter != "none" else None
        n_fused = len(config.language_layers)
        self.aligner = LayerWiseAligner(config).to(device) if n_fused else None
        # Zero, so that training starts from the language model as it is (section 3.2).
        self.gates = self.gate_map = None
        if n_fused:
            self.gates = nn.Parameter(torch.zeros(config.gate_shape, device=device))
        if config.gate == "hidden":
            self.gate_map = nn.Parameter(torch.zeros(n_fused, config.d_llm, device=device))
        self.generation_config = language_model.generation_config
        self._fused_layers = tuple(config.language_layers)
        self.encoder_positions = encoder_positions(encoder)
        if n_fused:
            fuse_layers(language_model, self._fused_layers, give_hidden=self.gate_map is not None)
        self.encoder.requires_grad_(False)
        self.language_model.requires_grad_(False)
        self.post_init()  # type: ignore[no-untyped-call]
        if config.lora is not None:  # last, or its start would be overwritten
            insert_lora(language_model, LoraSettings(**config.lora))
        self.train(False)

    @classmethod
    def from_backbones(
        cls,
        encoder: str | PreTrainedModel,
        language_model: str | PreTrainedModel,
        *,
        dtype: torch.dtype | str | None = None,
        attn_implementation: str | None = None,
        device_map: Any = None,
        encoder_revision: str | None = None,
        language_model_revision: str | None = None,
        **config_fields: Any,
    ) -> LayAlignModel:
        """Join an encoder and a language model; everything between them is freshly initialised.

        Args:
            encoder: Folder, hub id, name of an embedded model or loaded encoder; of an
                encoder-decoder only the encoder half is loaded.
            language_model: The same of a causal language model, or of a PEFT LoRA on one, which is
                merged.
            dtype: Arithmetic type of the backbones, e.g. ``torch.bfloat16``; the trained
                parameters stay in float32. Default: as stored.
            attn_implementation: Of the language model, as in transformers (``"sdpa"`` …).
            device_map: As in transformers.
            encoder_revision: Hub revision of the encoder; what is recorded is its commit.
            language_model_revision: Hub revision of the language model; as above.
            **config_fields: Further fields of :class:`LayAlignConfig`.

        Raises:
            BackboneError: A backbone cannot be loaded or its family is not supported.
            ConfigError: A config field is not valid or not known.
        """
        check_field_names(config_fields)
        given = (encoder, encoder_revision), (language_model, language_model_revision)
        encoder, language_model, fingerprints = load_backbones(
            encoder,
            language_model,
            encoder_revision=encoder_revision,
            language_model_revision=language_model_revision,
            dtype=dtype,
            attn_implementation=attn_implementation,
            device_map=device_map,
        )
        revisions = [commit_of(*backbone) for backbone in given]
        if config_fields.get("aligner") != "none":
            config_fields.setdefault("language_layers", default_language_layers(language_model))
        config = LayAlignConfig(
            encoder_config=encoder.config,
            text_config=language_model.config,
            encoder=str(encoder.name_or_path or ""),
            encoder_revision=revisions[0],
            language_model=str(language_model.name_or_path or ""),
            language_model_revision=revisions[1],
            fingerprints=fingerprints,
            **config_fields,
        )
        return cls(config, encoder, language_model)

    def trainable_names(self) -> tuple[str, ...]:
        """Exact names of the trained parameters, sorted; the same set in both stages."""
        return tuple(sorted(name for name, _ in self.named_parameters() if is_trained(name)))

    def train(self, mode: bool = True) -> LayAlignModel:
        """Switch modes; frozen backbones stay in eval mode unless the config says otherwise."""
        super().train(mode)
        if mode and self.config.frozen_backbones_eval:
            self.encoder.eval()
            self.language_model.eval()
            let_checkpoint(self.language_model)
        return self

    def get_input_embeddings(self) -> nn.Embedding:
        """The language model's token embedding."""
        return token_embedding(self.language_model)

    def get_output_embeddings(self) -> nn.Module:
        """The language model's output head."""
        return cast(nn.Module, self.language_model.get_output_embeddings())

    def get_decoder(self) -> nn.Module:
        """The language model without its head."""
        return cast(nn.Module, self.language_model.get_decoder())

    def encode(
        self, encoder_input_ids: Tensor, encoder_attention_mask: Tensor, encoder_outputs: Any = None
    ) -> dict[str, Tensor]:
        """Run encoder, adapter and aligner, and project the states for every fused layer.

        This happens once per request: all decoding steps read the same tensors.

        Args:
            encoder_input_ids: ``(batch, enc_len)``, the encoder tokenizer's ids.
            encoder_attention_mask: ``(batch, enc_len)``, 1 at real tokens.
            encoder_outputs: The encoder's output with all hidden states, if it has been run.

        Returns:
            With an adapter ``soft_tokens`` ``(batch, enc_len, d_llm)``. With an aligner
            ``fusion_keys`` and ``fusion_values``, see :func:`project_states`, and, unless the
            config asks for the published behaviour, ``fusion_mask`` ``(batch, enc_len)``, True at
            real tokens.

        Raises:
            ConfigError: The text is longer than the encoder's table of positions.
        """
        if encoder_outputs is None:
            check_encoder_length(encoder_input_ids.shape[1], self.encoder_positions)
            with torch.no_grad():
                encoder_outputs = self.encoder(
                    input_ids=encoder_input_ids,
                    attention_mask=encoder_attention_mask,
                    output_hidden_states=self.aligner is not None,
                )
        dtype = self.get_input_embeddings().weight.dtype
        encoded: dict[str, Tensor] = {}
        if self.adapter is not None:
            encoded["soft_tokens"] = self.adapter(encoder_outputs.last_hidden_state.to(dtype))
        if self.aligner is None:
            return encoded
        chosen = [encoder_outputs.hidden_states[i] for i in self.config.encoder_layers]
        mixed = self.aligner.before_last(torch.stack(chosen).to(dtype).transpose(0, 1))
        gates = self.gates if self.config.gate == "scalar" else None
        encoded["fusion_keys"], encoded["fusion_values"] = project_states(
            self.language_model, self._fused_layers, mixed, self.aligner.last, gates
        )
        if self.config.mask_encoder_padding:
            encoded["fusion_mask"] = encoder_attention_mask.bool()
        return encoded

    def assemble(
        self,
        encoder_input_ids: Tensor,
        encoder_attention_mask: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        encoder_outputs: Any = None,
    ) -> dict[str, Tensor]:
        """Build what the language model is given: BOS, soft tokens, boundary, text.

        Without an adapter there are no soft tokens and no boundary, which is there to end them.

        Args:
            encoder_input_ids: ``(batch, enc_len)``.
            encoder_attention_mask: ``(batch, enc_len)``, 1 at real tokens; None if all are.
            input_ids: LLM text without BOS, ``(batch, text_len)``; None for no text.
            attention_mask: ``(batch, text_len)``, 1 at real tokens; None if all are.
            labels: ``(batch, text_len)``, -100 where nothing is to be predicted.
            encoder_outputs: See :meth:`encode`.

        Returns:
            What :func:`join_parts` gives, padded on the left only, and the tensors of
            :meth:`encode` without the soft tokens.

        Raises:
            ShapeError: Two inputs that belong together differ in shape.
            ConfigError: A model without adapter and BOS is given a row without a prompt.
        """
        if encoder_attention_mask is None:
            encoder_attention_mask = torch.ones_like(encoder_input_ids)
        check_same_shape(
            "encoder_input_ids", encoder_input_ids, encoder_attention_mask=encoder_attention_mask
        )
        encoded = self.encode(encoder_input_ids, encoder_attention_mask, encoder_outputs)
        one = encoder_attention_mask.new_ones(len(encoder_attention_mask), 1)
        embed = self.get_input_embeddings()
        parts = []
        if self.config.bos_token_id is not None:
            bos = torch.full_like(encoder_input_ids[:, :1], self.config.bos_token_id)
            parts.append((embed(bos), one))
        if self.adapter is not None:
            soft = encoded.pop("soft_tokens")
            boundary = self.adapter.boundary.to(soft.dtype).expand(len(soft), 1, -1)
            parts += [(soft, encoder_attention_mask), (boundary, one)]
        if input_ids is not None:
            if attention_mask is None:
                attention_mask = torch.ones_like(input_ids)
            check_same_shape("input_ids", input_ids, attention_mask=attention_mask, labels=labels)
            parts.append((embed(input_ids), attention_mask))
        if self.adapter is None and self.config.bos_token_id is None:
            check_begun(attention_mask, labels)
        return join_parts(parts, labels) | encoded

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        encoder_input_ids: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        encoder_outputs: Any = None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        fusion_keys: Tensor | None = None,
        fusion_values: Tensor | None = None,
        fusion_mask: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        label_logits_only: bool = False,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Compute logits and, with ``labels``, the loss.

        With ``encoder_input_ids`` the sequence is put together by :meth:`assemble` and all
        outputs run over that sequence; without, ``inputs_embeds`` or ``input_ids`` continue one
        that ``generate`` has begun.

        Args:
            input_ids: LLM text, ``(batch, text_len)``.
            attention_mask: 1 at real tokens of the text, ``(batch, text_len)``.
            encoder_input_ids: The encoder's ids, ``(batch, enc_len)``.
            encoder_attention_mask: ``(batch, enc_len)``, 1 at real tokens.
            labels: Targets at the positions of ``input_ids``, -100 for none; logits are one ahead.
            encoder_outputs: See :meth:`encode`.
            inputs_embeds: An assembled sequence, ``(batch, seq_len, d_llm)``.
            position_ids: ``(batch, seq_len)``; default as ``config.mask_position_ids`` says.
            fusion_keys: From :meth:`encode`.
            fusion_values: From :meth:`encode`.
            fusion_mask: From :meth:`encode`.
            num_items_in_batch: Number of targets over the whole update; the loss is then the sum
                over this batch divided by it, else the mean over this batch's targets.
            label_logits_only: Compute logits only from that of the first label on (saves memory).
            logits_to_keep: As in transformers: that many last positions, 0 for all, or indices.
            **kwargs: Passed to the language model (``past_key_values``, ``use_cache`` …).
        """
        if encoder_input_ids is not None:
            encoder = (encoder_input_ids, encoder_attention_mask)
            batch = self.assemble(*encoder, input_ids, attention_mask, labels, encoder_outputs)
            input_ids, labels = None, batch.pop("labels", None)
            inputs_embeds, attention_mask = batch["inputs_embeds"], batch["attention_mask"]
            names = ("fusion_keys", "fusion_values", "fusion_mask")
            fusion_keys, fusion_values, fusion_mask = map(batch.get, names)
            if position_ids is None and self.config.mask_position_ids:
                position_ids = (attention_mask.cumsum(-1) - 1).clamp(min=0)
            kwargs.setdefault("use_cache", False)
        if labels is not None and label_logits_only:
            kept = label_positions(labels)
            logits_to_keep, labels = kept, labels[:, kept]
        read = input_ids if inputs_embeds is None else inputs_embeds
        output = self.language_model(
            input_ids=input_ids,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            logits_to_keep=kept_positions(logits_to_keep, read),
            **self._fusion(fusion_keys, fusion_values, fusion_mask),
            **kwargs,
        )
        loss = None if labels is None else token_loss(output.logits, labels, num_items_in_batch)
        return CausalLMOutputWithPast(
            loss=loss,
            logits=output.logits,
            past_key_values=output.past_key_values,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
        )

    def _fusion(
        self, keys: Tensor | None, values: Tensor | None, mask: Tensor | None
    ) -> dict[str, Any]:
        if keys is None or values is None:
            return {}
        is_gated = self.config.gate == "scalar" and keys.dim() == 5  # then the values are already
        gates = None if is_gated else self.gates
        return fusion_keywords(self._fused_layers, keys, values, mask, gates, self.gate_map)

    @torch.no_grad()
    def generate(  # type: ignore[override]
        self,
        encoder_input_ids: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Generate with any of transformers' decoding methods; returns new tokens only.

        Args:
            encoder_input_ids: ``(batch, enc_len)``.
            encoder_attention_mask: ``(batch, enc_len)``, 1 at real tokens; None if all are.
            input_ids: LLM prompt without BOS, ``(batch, text_len)``; None for encoder input only.
            attention_mask: ``(batch, text_len)``, 1 at real tokens; None if all are.
            **kwargs: Any argument of transformers' ``generate``.

        Returns:
            ``(batch * num_return_sequences, new_tokens)``; rows that end early are filled with
            the pad token. With ``return_dict_in_generate=True`` transformers' output object.

        Raises:
            ConfigError: No encoder input was given.
        """
        if encoder_input_ids is None:
            raise ConfigError(
                "generate needs encoder_input_ids; build them with LayAlignProcessor, or call "
                "model.language_model.generate for the language model alone"
            )
        prompt: dict[str, Any] = self.assemble(
            encoder_input_ids, encoder_attention_mask, input_ids, attention_mask
        )
        kwargs = with_own_penalty(kwargs, self.generation_config)
        return super().generate(**prompt, **kwargs)  # type: ignore[misc]

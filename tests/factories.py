"""Tiny random models and tokenizers, built from configurations: nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from layalign.model import LayAlignModel
from layalign.model.backbones import encoder_half, load_language_model
from layalign.model.lora import add_new_lora
from layalign.processing import LayAlignProcessor

REAL_DATA_RECIPES = ("paper_math", "paper_xcsqa", "paper_xnli", "smollm2_e5_math")

VOCABULARY = 99
_SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
_GROUPED = {**_SMALL, "num_key_value_heads": 2}
_HEADS = {**_GROUPED, "head_dim": 8}
_EXPERTS = {"num_experts_per_tok": 2, "output_router_logits": False}

LANGUAGE_MODELS: dict[str, dict[str, Any]] = {
    "llama": _GROUPED,
    "mistral": _GROUPED,
    "qwen2": _GROUPED,
    "qwen3": _HEADS,
    "gemma2": {**_HEADS, "sliding_window": 6, "query_pre_attn_scalar": 8},
    "gemma3_text": {
        **_HEADS,
        "sliding_window": 6,
        "query_pre_attn_scalar": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "phi3": _GROUPED,
    "olmo2": _GROUPED,
    "smollm3": {**_GROUPED, "no_rope_layers": [1, 0]},
    "granite": {**_GROUPED, "attention_multiplier": 0.2, "embedding_multiplier": 2.0},
    "cohere": {**_GROUPED, "use_qk_norm": True, "logit_scale": 1.0},
    "gpt_neox": _SMALL,
    "stablelm": {**_GROUPED, "qk_layernorm": True},
    "mixtral": {**_GROUPED, **_EXPERTS, "num_local_experts": 4},
    "qwen3_moe": {**_HEADS, **_EXPERTS, "num_experts": 4, "moe_intermediate_size": 16},
}

_T5 = {
    "vocab_size": VOCABULARY,
    "d_model": 24,
    "d_kv": 6,
    "d_ff": 32,
    "num_layers": 3,
    "num_heads": 4,
    "dropout_rate": 0.1,
}
_SEQ2SEQ = {
    "vocab_size": VOCABULARY,
    "d_model": 24,
    "encoder_layers": 3,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 128,
}
_BERT = {**_SMALL, "hidden_size": 24, "num_hidden_layers": 3, "max_position_embeddings": 512}
ENCODERS: dict[str, dict[str, Any]] = {
    "mt5": _T5,
    "t5": _T5,
    "umt5": _T5,
    "m2m_100": {**_SEQ2SEQ, "encoder_layerdrop": 0.5, "dropout": 0.3},
    "mbart": _SEQ2SEQ,
    "xlm-roberta": {**_BERT, "max_position_embeddings": 514},
    "bert": _BERT,
    "modernbert": {**_BERT, "global_attn_every_n_layers": 2, "local_attention": 8},
    "deberta-v2": {**_BERT, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "gpt2": {
        "vocab_size": VOCABULARY,
        "n_embd": 24,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 128,
    },
    "xglm": {
        "vocab_size": VOCABULARY,
        "d_model": 24,
        "num_layers": 3,
        "attention_heads": 4,
        "ffn_dim": 32,
    },
    "qwen2": {**_GROUPED, "hidden_size": 24, "num_hidden_layers": 3},
}


# Every value of every switch of LayAlign, as arguments of `make_model`, and some of them together.
SWITCHES: dict[str, dict[str, Any]] = {
    "published": {},
    "adapter linear": {"adapter": "linear"},
    "adapter none": {"adapter": "none"},
    "aligner mlp": {"aligner": "mlp"},
    "aligner none": {"aligner": "none"},
    "aligner wide": {"aligner_width": 20},
    "last": {"encoder_layers": "last"},
    "mean": {"encoder_layers": "mean"},
    "middle": {"encoder_layers": "middle:1"},
    "list": {"encoder_layers": [3, 0]},
    "gate head": {"gate_kind": "head"},
    "gate hidden": {"gate_kind": "hidden"},
    "lora": {"lora": {"rank": 2}},
    "dora": {"lora": {"rank": 2, "dora": True, "targets": ["q_proj", "k_proj", "v_proj"]}},
    "langbridge": {"adapter": "linear", "aligner": "none"},
    "soft tokens and dora": {"aligner": "none", "lora": {"rank": 2, "dora": True}},
    "everything": {
        **{"adapter": "linear", "aligner": "mlp", "aligner_width": 20, "encoder_layers": "mean"},
        **{"gate_kind": "hidden", "lora": {"rank": 2, "dora": True}},
    },
}


def make_language_model(family: str = "llama", *, seed: int = 0, **fields: Any) -> PreTrainedModel:
    """A causal language model with random weights, in eval mode."""
    attention = fields.pop("attn_implementation", None)
    if attention is None:
        attention = "eager" if family == "gemma2" else "sdpa"  # soft capping needs eager
    config = CONFIG_MAPPING[family](**{**LANGUAGE_MODELS[family], **fields})
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    return _spread(model)


def make_encoder(family: str = "bert", *, seed: int = 1, **fields: Any) -> PreTrainedModel:
    """A multilingual encoder with random weights, in eval mode."""
    config = CONFIG_MAPPING[family](**{**ENCODERS[family], **fields})
    torch.manual_seed(seed)
    half = encoder_half(config)
    return _spread(half.model_class(config, **half.options))


def _spread(model: PreTrainedModel) -> PreTrainedModel:
    """Larger weights than a fresh initialisation has, so that mistakes show in the logits."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4.0)
    return model.eval()


def make_model(
    language_model: str | PreTrainedModel = "llama",
    encoder: str | PreTrainedModel = "bert",
    *,
    gate: float = 0.5,
    gate_kind: str = "scalar",
    seed: int = 2,
    **fields: Any,
) -> LayAlignModel:
    """A composite whose gates, boundary and LoRA are away from zero, so that everything acts."""
    if isinstance(language_model, str):
        language_model = make_language_model(language_model)
    if isinstance(encoder, str):
        encoder = make_encoder(encoder)
    torch.manual_seed(seed)
    model = LayAlignModel.from_backbones(encoder, language_model, gate=gate_kind, **fields)
    with torch.no_grad():
        if model.gates is not None:
            values = torch.linspace(gate, 2 * gate, model.gates.numel())
            model.gates.copy_(values.view_as(model.gates))
            model.aligner.project.weight.mul_(8.0)  # so that a mistake in the fusion shows clearly
        if model.gate_map is not None and gate:
            model.gate_map.normal_(std=gate)
        if model.adapter is not None:
            model.adapter.boundary.normal_()
        for name in model.trainable_names():
            if "lora_B" in name and gate:
                model.get_parameter(name).normal_(std=0.1)
    return model


def make_batch(*, seed: int = 3, targets: bool = True) -> dict[str, torch.Tensor]:
    """Three rows of unequal length: encoder input padded right, text padded left."""
    generator = torch.Generator().manual_seed(seed)
    lengths, text_lengths, prompts = [5, 8, 3], [6, 4, 7], [3, 2, 4]
    ids = torch.randint(5, VOCABULARY, (3, 8), generator=generator)
    mask = torch.tensor([[1] * n + [0] * (8 - n) for n in lengths])
    text = torch.randint(5, VOCABULARY, (3, 7), generator=generator)
    text_mask = torch.tensor([[0] * (7 - n) + [1] * n for n in text_lengths])
    batch = {
        "encoder_input_ids": ids,
        "encoder_attention_mask": mask,
        "input_ids": text,
        "attention_mask": text_mask,
    }
    if targets:
        first = torch.tensor([7 - n + p for n, p in zip(text_lengths, prompts, strict=True)])
        is_prompt = torch.arange(7)[None] < first[:, None]
        batch["labels"] = text.masked_fill(is_prompt, -100)
    return batch


_WORDS = (
    "how many apples does anna have left she buys gives sells three four five two mangoes eggs "
    "books the answer is to of and in a box has had was are there now more than one each all you "
    "wa kiasi gani ana mayai vitabu nne tatu mbili sasa jumla yake bei shilingi "
    "abcdef"  # what transformers' stop strings probe a tokenizer with
)
WORDS = _WORDS.split()


def make_tokenizer(*, bos: bool = True, specials: bool = False) -> PreTrainedTokenizerFast:
    """A word-level tokenizer over a short list; digits are tokens of their own."""
    tokens = ["<pad>", "<s>", "</s>", "<unk>", *"0123456789+-*/=.,?:", *WORDS]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    assert len(vocabulary) <= VOCABULARY
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Whitespace(),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Punctuation(),
        ]
    )
    if specials:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        bos_token="<s>" if bos else None,
    )


def make_processor(**settings: Any) -> LayAlignProcessor:
    """A processor over two tiny tokenizers."""
    return LayAlignProcessor(make_tokenizer(specials=True), make_tokenizer(), **settings)


def save_backbones(root: Path) -> dict[str, str]:
    """Write a tiny encoder and a tiny language model with their tokenizers; return the folders."""
    for name, model, specials in (
        ("encoder", make_encoder(), True),
        ("language_model", make_language_model(), False),
    ):
        model.save_pretrained(root / name)
        make_tokenizer(specials=specials).save_pretrained(root / name)
    return {name: str(root / name) for name in ("encoder", "language_model")}


def save_lora(base: str, folder: Path, *, rank: int = 2) -> None:
    """Write a LoRA that changes something, on the language model of that folder or hub id."""
    adapted = add_new_lora(load_language_model(base), rank)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    adapted.save_pretrained(folder, save_embedding_layers=False)

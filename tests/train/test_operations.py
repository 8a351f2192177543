import pytest
import torch

from factories import make_batch, make_language_model, make_model
from layalign.model import LayAlignModel
from layalign.train.operations import token_costs


def matrices(module: torch.nn.Module) -> int:
    """Parameters of all layers but the embeddings."""
    tables = {m.weight.data_ptr() for m in module.modules() if isinstance(m, torch.nn.Embedding)}
    return sum(p.numel() for p in module.parameters() if p.data_ptr() not in tables)


def numel(*parts: torch.nn.Module) -> int:
    return sum(p.numel() for part in parts for p in part.parameters())


def test_a_frozen_model_costs_less_than_a_trained_one(model: LayAlignModel) -> None:
    costs = token_costs(model, model.trainable_names())
    slots = 2 * len(model.config.language_layers)
    learnt = numel(model.adapter) + model.gates.numel() + slots * numel(model.aligner.project)
    learnt += model.config.d_enc * numel(model.aligner.mix)
    attention = [layer.self_attn for layer in model.language_model.model.layers]
    read = sum(m.weight.numel() for a in attention for m in (a.k_proj, a.v_proj))
    assert costs.encoder == 2 * matrices(model.encoder) + 6 * learnt + 4 * read
    assert costs.language_model == 4 * matrices(model.language_model)


def test_a_language_model_alone() -> None:
    model = make_language_model()
    names = [name for name, _ in model.named_parameters()]
    assert token_costs(model, names).language_model == 6 * matrices(model)
    assert token_costs(model, ()).language_model == 4 * matrices(model)
    assert token_costs(model, names).encoder == 0


def test_a_tied_head_counts() -> None:
    model = make_language_model(tie_word_embeddings=True)
    head = model.lm_head.weight
    assert head is model.get_input_embeddings().weight
    assert token_costs(model, ()).language_model == 4 * (matrices(model) + head.numel())


def test_without_an_adapter_there_are_no_soft_tokens() -> None:
    model, batch = make_model(adapter="none"), make_batch()
    costs = token_costs(model, model.trainable_names())
    encoder, text = (
        int(batch[name].sum()) for name in ("encoder_attention_mask", "attention_mask")
    )
    assert costs.of(batch) == encoder * costs.encoder + text * costs.language_model


def test_soft_tokens_are_read_by_both() -> None:
    model, batch = make_model(), make_batch()
    costs = token_costs(model, model.trainable_names())
    encoder, text = (
        int(batch[name].sum()) for name in ("encoder_attention_mask", "attention_mask")
    )
    both = costs.encoder + costs.language_model
    assert costs.of(batch) == pytest.approx(encoder * both + text * costs.language_model)
    del batch["encoder_attention_mask"]
    assert costs.of(batch) == text * costs.language_model

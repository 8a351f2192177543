import pytest
import torch

from factories import make_batch, make_language_model, make_model
from layalign.model import LayAlignModel
from layalign.train.operations import token_costs


def matrices(module: torch.nn.Module) -> int:
    """Parameters of all layers but the embeddings."""
    tables = {m.weight.data_ptr() for m in module.modules() if isinstance(m, torch.nn.Embedding)}
    return sum(p.numel() for p in module.parameters() if p.data_ptr() not in tables)


def test_a_frozen_model_costs_less_than_a_trained_one(model: LayAlignModel) -> None:
    costs = token_costs(model, model.trainable_names())
    learnt = sum(p.numel() for p in (*model.adapter.parameters(), *model.aligner.parameters()))
    learnt += sum(p.numel() for n, p in model.named_parameters() if n.split(".")[0] == "gates")
    assert costs.encoder == 2 * matrices(model.encoder) + 6 * learnt
    assert costs.language_model == 4 * matrices(model.language_model)


def test_a_language_model_alone() -> None:
    model = make_language_model()
    names = [name for name, _ in model.named_parameters()]
    assert token_costs(model, names).language_model == 6 * matrices(model)
    assert token_costs(model, ()).language_model == 4 * matrices(model)
    assert token_costs(model, names).encoder == 0


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

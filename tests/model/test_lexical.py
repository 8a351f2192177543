"""The lexical start brings soft tokens near the embeddings of the same words."""

from __future__ import annotations

import random

import torch
from torch.nn import functional as F

from factories import WORDS, make_model, make_processor
from layalign.model.lexical import lexical_pairs, lexical_start


def sentences(count: int) -> list[str]:
    rng = random.Random(0)
    return [" ".join(rng.choices([*WORDS, "12", "345"], k=6)) for _ in range(count)]


def test_soft_tokens_come_near_the_word_embeddings() -> None:
    model, processor = make_model(), make_processor()
    boundary = model.adapter.boundary.clone()
    states, targets = lexical_pairs(model, processor, sentences(20))

    def nearest_is_right() -> float:
        """Share of encoder tokens whose soft token is nearest to the right embedding."""
        table = model.get_input_embeddings().weight
        with torch.no_grad():
            similarity = F.cosine_similarity(
                model.adapter(states)[:, None], table[None], dim=-1
            ).argmax(-1)
        right = F.cosine_similarity(targets[:, None], table[None], dim=-1).argmax(-1)
        return (similarity == right).float().mean().item()

    before = nearest_is_right()
    error = lexical_start(model, processor, sentences(200), updates=300, batch_size=64, lr=3e-3)
    assert before < 0.1
    assert nearest_is_right() > 0.9
    assert error < 0.3
    assert torch.equal(model.adapter.boundary, boundary)
    assert all(p.grad is None for p in model.parameters())


def test_targets_are_the_tokens_that_cover_the_same_characters() -> None:
    model, processor = make_model(), make_processor(split_digits=True)
    states, targets = lexical_pairs(model, processor, ["anna has 12"])
    embed = model.get_input_embeddings()
    ids = processor.tokenizer("anna has 1 2", add_special_tokens=False)["input_ids"]
    assert len(states) == 4
    torch.testing.assert_close(targets, embed(torch.tensor(ids)).detach())

"""The language model's sequence: joining, padding, label positions and the loss."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from layalign.errors import ShapeError
from layalign.model.sequence import (
    IGNORE_INDEX,
    check_same_shape,
    gather_padding_left,
    join_parts,
    label_positions,
    token_loss,
)


def test_padding_of_every_part_is_gathered_on_the_left() -> None:
    first = torch.tensor([[1.0, 2.0], [3.0, 0.0]])[..., None]
    second = torch.tensor([[0.0, 4.0], [5.0, 6.0]])[..., None]
    labels = torch.tensor([[IGNORE_INDEX, 4], [5, 6]])
    joined = join_parts(
        [(first, torch.tensor([[1, 1], [1, 0]])), (second, torch.tensor([[0, 1], [1, 1]]))], labels
    )
    assert joined["inputs_embeds"].squeeze(-1).tolist() == [[1, 2, 4], [3, 5, 6]]
    assert joined["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 1]]
    ignored = IGNORE_INDEX
    assert joined["labels"].tolist() == [[ignored, ignored, 4], [ignored, 5, 6]]


def test_only_columns_that_are_padding_everywhere_are_dropped() -> None:
    mask = torch.tensor([[0, 1, 0, 1], [1, 1, 0, 1]])
    gathered = gather_padding_left({"ids": torch.arange(8).view(2, 4), "attention_mask": mask})
    assert gathered["attention_mask"].tolist() == [[0, 1, 1], [1, 1, 1]]
    assert gathered["ids"].tolist() == [[2, 1, 3], [4, 5, 7]]


@pytest.mark.parametrize(
    ("labels", "kept"),
    [
        ([[-100, -100, 7, -100]], [1, 2, 3]),
        ([[-100, -100, -100, 7], [-100, -100, 7, 7]], [1, 2, 3]),
        ([[7, 7]], [0, 1]),
        ([[-100, -100]], [1]),
    ],
)
def test_label_positions(labels: list[list[int]], kept: list[int]) -> None:
    assert label_positions(torch.tensor(labels)).tolist() == kept


def test_loss_of_even_logits_is_the_logarithm_of_the_vocabulary() -> None:
    logits, labels = torch.zeros(1, 4, 8), torch.tensor([[3, IGNORE_INDEX, 5, 6]])
    assert token_loss(logits, labels).item() == pytest.approx(torch.log(torch.tensor(8.0)).item())
    assert token_loss(logits, labels, 4) == token_loss(logits, labels) / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocabulary", [7, 2**18 + 5])  # more than a row at a time, and one
def test_loss_and_its_gradient_are_those_of_torch(dtype: torch.dtype, vocabulary: int) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 4, vocabulary).to(dtype).requires_grad_()
    labels = torch.tensor([[-100, 3, -100, 6], [-100, -100, 0, 2]])
    loss = token_loss(logits, labels, 3)
    (found,) = torch.autograd.grad(2 * loss, logits)
    plain = 2 / 3 * F.cross_entropy(logits[:, :-1].float().mT, labels[:, 1:], reduction="sum")
    (expected,) = torch.autograd.grad(plain, logits)
    torch.testing.assert_close(2 * loss, plain)
    torch.testing.assert_close(found, expected)
    assert found.dtype == dtype


def test_shapes_that_differ_are_refused() -> None:
    check_same_shape("input_ids", torch.zeros(2, 3), labels=None)
    with pytest.raises(ShapeError, match=r"labels has shape \(2, 4\), expected that of input_ids"):
        check_same_shape("input_ids", torch.zeros(2, 3), labels=torch.zeros(2, 4))

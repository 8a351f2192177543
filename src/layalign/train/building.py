"""What a recipe says of LayAlign itself: which backbones, joined how, and begun where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from layalign.model import LayAlignModel
from layalign.model.lexical import lexical_start
from layalign.processing import LayAlignProcessor
from layalign.train.batches import spread_different
from layalign.train.progress import RunProgress
from layalign.train.recipe import Recipe
from layalign.train.trainer import make_processor


def build_composite(
    recipe: Recipe, language_model: str, loading: Mapping[str, Any], device: str
) -> tuple[LayAlignModel, LayAlignProcessor]:
    """Load the backbones of a recipe and join them; what is between them is untrained.

    Args:
        recipe: Which encoder, and how they are joined.
        language_model: In place of the recipe's own, which may have been fine-tuned.
        loading: How it is loaded: ``revision``, ``dtype``, ``attn_implementation``.
        device: Where the model goes.

    Raises:
        LayAlignError: A backbone or a tokenizer cannot be used, or they do not fit.
    """
    settings, options = recipe.model, dict(loading)
    revisions = {
        "encoder_revision": settings.encoder_revision,
        "language_model_revision": options.pop("revision"),
    }
    torch.manual_seed(recipe.seed)
    model = LayAlignModel.from_backbones(
        settings.encoder,
        language_model,
        **revisions,
        **options,
        **settings.config_fields(),
    )
    model.to(device)  # type: ignore[arg-type]
    processor = make_processor(recipe.processor, settings.encoder, language_model, **revisions)
    processor.check_model(model.config)
    return model, processor


def start_lexically(
    recipe: Recipe,
    model: LayAlignModel,
    processor: LayAlignProcessor,
    english: Callable[[], Iterator[str]],
    progress: RunProgress,
) -> float:
    """Warm up the adapter on the English that a recipe trains on.

    Args:
        recipe: How many texts and updates.
        model: Its adapter is changed in place.
        processor: Of the model.
        english: Gives all English texts.
        progress: Told how much is done, as the phase ``lexical``.

    Returns:
        See :func:`~layalign.model.lexical.lexical_start`.
    """
    settings = recipe.model.lexical
    return lexical_start(
        model,
        processor,
        spread_different(english, settings.texts),
        updates=settings.updates,
        batch_size=settings.batch_size,
        lr=settings.lr,
        seed=recipe.seed,
        progress=lambda done, total: progress("lexical", done / total, ""),
    )

"""What of a run answers questions: LayAlign, its language model, or both by way of English."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layalign.eval.loading import load_bare, load_translator, make_systems, read_finetune
from layalign.eval.prompts import with_question
from layalign.eval.systems import BARE, BareLLM, LayAlignSystem, System
from layalign.eval.translating import TranslatingSystem
from layalign.model import LayAlignModel
from layalign.processing import LayAlignProcessor
from layalign.train.methods import MethodPlan
from layalign.train.trainer import text_processor


@dataclass(frozen=True, kw_only=True)
class Answering:
    """What a run has trained."""

    method: MethodPlan

    language_model: str
    """The last one: a folder, a hub id or the name of an embedded model."""

    loading: Mapping[str, Any]
    """Of :func:`layalign.model.backbones.load_language_model`."""

    composite: tuple[LayAlignModel, LayAlignProcessor] | None
    """LayAlign, where the method has trained its parts."""

    def systems(self) -> dict[str, System]:
        """What the method has made, and beside it the bare language model, if that is wanted."""
        settings, method = self.method.recipe.evaluation, self.method.method
        options: dict[str, Any] = {
            "bare_prompt_template": settings.bare_prompt_template,
            "max_new_tokens": settings.max_new_tokens,
        }
        if self.composite is not None and not method.translates:
            return {**make_systems(*self.composite, bare=settings.bare, **options)}
        language_model = self._bare(**options)
        if not method.translates:
            return {BARE: language_model}
        own = TranslatingSystem(
            self.translator(), language_model, keep_original=method.keeps_original
        )
        # One that was trained to read the original too is no longer the bare language model.
        is_bare = settings.bare and not method.keeps_original
        return {method.label: own, **({BARE: language_model} if is_bare else {})}

    def translator(self) -> System:
        """What translates questions: the model that the recipe names, or LayAlign."""
        settings = self.method.recipe.evaluation
        length = settings.translation_max_new_tokens
        if settings.translator is None:
            assert self.composite is not None
            return LayAlignSystem(*self.composite, max_new_tokens=length)
        return load_translator(
            settings.translator,
            prompt_template=settings.translator_template,
            max_new_tokens=length,
        )

    def _bare(self, bare_prompt_template: str | None, **options: Any) -> BareLLM:
        """The language model alone: that inside LayAlign, unless it was trained on after that."""
        if self.composite is None or self.method.method.keeps_original:
            return load_bare(
                Path(self.language_model),
                loading=self.loading,
                bare_prompt_template=bare_prompt_template or self._template(),
                **options,
            )
        model, processor = self.composite
        return BareLLM(
            model.language_model,
            processor.tokenizer,
            prompt_template=bare_prompt_template or self._template(),
            **options,
        )

    def _template(self) -> str:
        """The prompt that the language model was fine-tuned with, else that of the recipe."""
        template: str | None = read_finetune(Path(self.language_model)).get("prompt_template")
        if template is None:
            revision = self.loading["revision"]
            made = text_processor(self.method.recipe, self.language_model, revision)
            template = made.prompt_template
        return with_question(template)

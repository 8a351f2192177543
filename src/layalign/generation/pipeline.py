"""A pipeline of transformers, which gives the question to both models."""

from __future__ import annotations

from typing import Any, cast

from transformers import Pipeline

from layalign.errors import ConfigError
from layalign.model import LayAlignModel
from layalign.padding import pad_id
from layalign.processing import LayAlignProcessor

Parameters = dict[str, Any]


class LayAlignPipeline(Pipeline):
    """What ``transformers.pipeline`` makes of a checkpoint when it is told this class.

    ``pipeline("text-generation", model="runs/quickstart", pipeline_class=LayAlignPipeline)``, or
    with a loaded ``model`` and ``processor``. Without ``processor`` it is the one that lies beside
    the model. transformers' own class for that task gives a model nothing but ``input_ids``, and so
    cannot drive an encoder beside the language model.

    Called with a text, it returns ``[{"generated_text": …}]``; with a list of texts, a list of
    those; with a generator or a data set, an iterator. ``batch_size``, ``num_workers`` and
    ``device`` are transformers'. ``language`` is the BCP-47 tag of the texts. Everything else goes
    to ``generate``, which decodes greedily up to 256 tokens unless it is told otherwise. The text
    is the answer without the question: there is no other with ``return_full_text``.
    """

    # What transformers would load itself: nothing, for it takes only processors of its own kind.
    _load_processor: Any = False
    _load_tokenizer: Any = False
    _load_feature_extractor: Any = False
    _load_image_processor: Any = False

    def __init__(
        self, model: LayAlignModel, *, processor: LayAlignProcessor | None = None, **options: Any
    ) -> None:
        """Load the processor, unless it is given."""
        own: Any = processor or LayAlignProcessor.from_pretrained(str(model.name_or_path))
        super().__init__(model, tokenizer=own.tokenizer, processor=own, **options)

    def _sanitize_parameters(
        self, *, language: str | None = None, return_full_text: bool = False, **generation: Any
    ) -> tuple[Parameters, Parameters, Parameters]:
        if return_full_text:
            raise ConfigError(
                "return_full_text is set, but an answer does not go on with the text of its "
                "question; leave it out"
            )
        return {} if language is None else {"language": language}, generation, {}

    def preprocess(self, input_: Any, **settings: Any) -> Any:
        """Tokenise a question for both models."""
        return {"feature": self._own.encode(input_, **settings)}

    def _forward(self, input_tensors: Any, **generation: Any) -> Any:
        """Answer one tokenised question, or a batch of them."""
        feature = input_tensors["feature"]
        features = feature if isinstance(feature, list) else [feature]
        batch = self._own.pad(features).to(self.model.device)
        settings = {"max_new_tokens": 256, "do_sample": False, **generation}
        settings.setdefault("pad_token_id", pad_id(self._own.tokenizer))
        ids = cast(LayAlignModel, self.model).generate(**batch, **settings)
        return {"ids": ids.unflatten(0, (len(features), -1))}

    def postprocess(self, model_outputs: Any, **_: Any) -> list[dict[str, str]]:
        """Turn the answers to one question into texts."""
        texts = self._own.batch_decode(model_outputs["ids"][0])
        return [{"generated_text": text} for text in texts]

    @property
    def _own(self) -> LayAlignProcessor:
        return cast(LayAlignProcessor, self.processor)

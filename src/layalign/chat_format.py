"""A language model's own chat format as a prompt template, also after earlier turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from layalign.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

QUESTION = "{question}"
"""Where the question goes in a prompt template."""

Turn = tuple[str, str]
"""What was asked, and what was answered."""

_DAY = "26 Jul 2024"  # what Llama's own formats say where no clock is
_MARK = "\ue000"  # of the private use area: in no template and in no text


def chat_prompt_template(
    tokenizer: PreTrainedTokenizerBase,
    *,
    system: str | None = None,
    history: Sequence[Turn] = (),
) -> str:
    """Render a tokenizer's chat format once, as a prompt template.

    A BOS that the tokenizer would add by itself is left out: the model puts one in front of the
    soft tokens.

    Args:
        tokenizer: Of the language model.
        system: What the system says first.
        history: Earlier turns of the conversation, the oldest first.

    Raises:
        ConfigError: The tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise ConfigError(
            "the language model's tokenizer has no chat template; give prompt_template instead"
        )
    texts = [("system", system)] if system is not None else []
    for question, answer in history:
        # The first {question} of a template is replaced; this must not be one.
        turn = (("user", question), ("assistant", answer))
        texts += [(role, text.replace(QUESTION, "{ question }")) for role, text in turn]
    messages = [{"role": role, "content": text} for role, text in [*texts, ("user", QUESTION)]]
    return render_chat(tokenizer, messages)


def render_chat(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> str:
    """Render a conversation up to where its next answer begins, without a BOS of the tokenizer.

    Formats of Llama 3 state the date. Here it is the same one always: a checkpoint is asked as it
    was trained.
    """
    text = str(
        tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, date_string=_DAY
        )
    )
    adds_bos = tokenizer.bos_token_id in tokenizer("", verbose=False)["input_ids"]
    return text.removeprefix(tokenizer.bos_token) if adds_bos else text


def continued(
    tokenizer: PreTrainedTokenizerBase, prompt_template: str, history: Sequence[Turn]
) -> str:
    """The prompt template after earlier turns, with the system text that it was made with.

    A template that is not in the tokenizer's chat format has no place for them and stays as it is.
    """
    if not history or not tokenizer.chat_template:
        return prompt_template
    system = system_text(tokenizer, prompt_template)
    if system is None and chat_prompt_template(tokenizer) != prompt_template:
        return prompt_template
    return chat_prompt_template(tokenizer, system=system, history=history)


def system_text(tokenizer: PreTrainedTokenizerBase, prompt_template: str) -> str | None:
    """The system text in a prompt; None if it has none of its own, or is in another format."""
    from jinja2 import TemplateError

    if not tokenizer.chat_template or chat_prompt_template(tokenizer) == prompt_template:
        return None
    try:
        marked = chat_prompt_template(tokenizer, system=_MARK)
    except TemplateError:  # a format without system
        return None
    start, _, end = marked.partition(_MARK)
    if not prompt_template.startswith(start) or not prompt_template.endswith(end):
        return None
    return prompt_template[len(start) : len(prompt_template) - len(end)]

"""What encoder and language model are given for an example of a task."""

from __future__ import annotations

import re
from dataclasses import dataclass
from string import Formatter

from layalign.chat_format import QUESTION
from layalign.data import Example
from layalign.data.templates import render
from layalign.errors import ConfigError

BARE_PROMPT = "the bare language model's prompt template"
_GAP = re.compile(r"\{\{|(?P<name>\{[^{}]*\})")


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """The texts of one example."""

    text: str
    """What the encoder reads."""

    question: str
    """What stands at ``{question}`` of the template; the part that may be cut if it is long."""

    template: str
    """The language model's text, with ``{question}`` if it shows the question."""


@dataclass(frozen=True, kw_only=True)
class Template:
    """How examples become text; see :func:`layalign.data.templates.render` for the names.

    Raises:
        ConfigError: A template is not well formed, or ``bare`` does not show the question.
    """

    version: int = 1
    """Raised whenever a text of the template changes, because scores then change too."""

    encoder: str = "{text}"
    """What the encoder reads."""

    llm: str | None = None
    """What the language model reads; None for the checkpoint's own prompt around the encoder's
    text."""

    bare: str | None = None
    """What the language model reads when it is alone; None for ``llm``, with the encoder's text
    on a line before it if it shows nothing of the question."""

    def __post_init__(self) -> None:
        """Check the texts."""
        for template in (self.encoder, self.llm or "", self.bare or ""):
            try:
                list(Formatter().parse(template))
            except ValueError as error:
                raise ConfigError(f"template {template!r} is not well formed: {error}") from error
        if not _shows_question(self.encoder):
            raise ConfigError(f"encoder template {self.encoder!r} shows nothing; add {{text}}")
        if self.bare is not None and not _shows_question(self.bare):
            raise ConfigError(
                f"bare template {self.bare!r} shows nothing of the question; add {QUESTION}"
            )

    def prompt(self, example: Example, own: str) -> Prompt:
        """The texts for LayAlign.

        Args:
            example: What is asked.
            own: The checkpoint's own prompt, in which only ``{question}`` is a name.

        Raises:
            ConfigError: A template has a name that the example does not know.
        """
        return self._prompt(self.llm, example, own)

    def bare_prompt(self, example: Example, own: str) -> Prompt:
        """The texts for the language model alone, which sees the question in any case.

        Raises:
            ConfigError: A template has a name that the example does not know.
        """
        template = self.llm if self.bare is None else self.bare
        if template is not None and not _shows_question(template):
            template = f"{self.encoder}\n{template}"
        return self._prompt(template, example, own)

    def _prompt(self, template: str | None, example: Example, own: str) -> Prompt:
        text = render(self.encoder, example)
        if template is None:
            return Prompt(text=text, question=text, template=own)
        # Only what comes from the data is rendered into the question: nothing in it is read as
        # a template again, and the fixed text around it is never cut.
        head, middle, tail = _split(template)
        around = (render(part, example) for part in (head, tail))
        return Prompt(
            text=text,
            question=render(middle, example),
            template=(QUESTION if middle else "").join(around),
        )


def with_question(prompt_template: str) -> str:
    """Return a template that shows the question to a language model without an encoder."""
    if QUESTION in prompt_template:
        return prompt_template
    return f"{QUESTION}\n{prompt_template}"


def check_question(template: str, what: str) -> None:
    """Refuse a template that would hide the question from a model that reads nothing else.

    Args:
        template: Any.
        what: It is, for the message.

    Raises:
        ConfigError: It has no ``{question}``.
    """
    if QUESTION not in template:
        raise ConfigError(f"{what} is {template!r}; expected one with {QUESTION}")


def _shows_question(template: str) -> bool:
    return bool(_split(template)[1])


def _split(template: str) -> tuple[str, str, str]:
    """Take a template apart: before its first name, up to its last name, and the rest."""
    gaps = [match for match in _GAP.finditer(template) if match["name"]]
    if not gaps:
        return template, "", ""
    start, end = gaps[0].start(), gaps[-1].end()
    return template[:start], template[start:end], template[end:]

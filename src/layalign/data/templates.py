"""Templates: what a model reads of an example, as text with named gaps."""

from collections.abc import Collection, Iterator
from string import Formatter, ascii_uppercase

from layalign.data.example import Example
from layalign.errors import ConfigError, nearest

COMMON = ("text", "question", "choices", "label_list")
"""Names that every example has."""


def render(template: str, example: Example) -> str:
    """Fill a template with an example.

    Known are ``{text}`` and, the same, ``{question}``; ``{choices}``, a line ``"A. TEXT"`` for each
    choice; ``{label_list}``, their letters as ``"A, B, C"``; and the example's
    :attr:`~Example.parts`, of which one named ``question`` goes before the text. ``{{`` and ``}}``
    are braces. Braces in the example mean nothing.

    Raises:
        ConfigError: The template is not valid or has an unknown name.
    """
    labels = ascii_uppercase[: len(example.choices)]
    values = {
        "text": example.text,
        "question": example.text,
        "choices": "\n".join(map("{}. {}".format, labels, example.choices)),
        "label_list": ", ".join(labels),
        **example.parts,
    }
    return "".join(
        literal if name is None else literal + values[name]
        for literal, name in _pieces(template, values)
    )


def check_template(template: str, parts: Collection[str] = ()) -> None:
    """Check a template before there is an example.

    Args:
        template: See :func:`render`.
        parts: Names of the parts that the examples will have.

    Raises:
        ConfigError: The template is not valid or has an unknown name.
    """
    list(_pieces(template, (*COMMON, *parts)))


def _pieces(template: str, known: Collection[str]) -> Iterator[tuple[str, str | None]]:
    """Yield each literal text and the name that follows it; None at the end."""
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(
            f"template {template!r} is not valid ({error}); write {{{{ and }}}} for braces"
        ) from error
    for literal, name, form, conversion in pieces:
        if name is not None and (name not in known or form or conversion):
            shown = f"{name}{'!' + conversion if conversion else ''}{':' + form if form else ''}"
            raise ConfigError(
                f"template {template!r}: unknown name {shown!r}; expected one of "
                f"{', '.join(sorted(known))}{nearest(shown, known)}"
            )
        yield literal, name

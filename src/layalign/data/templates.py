"""Turn an example into text."""

from string import Formatter, ascii_uppercase

from layalign.data.example import Example
from layalign.errors import ConfigError


def render(template: str, example: Example) -> str:
    """Fill in a template; only names in braces are replaced, and braces in the data are text.

    Args:
        template: May hold ``{text}``, ``{question}`` (the same), ``{choices}`` (lines ``A. …``),
            ``{label_list}`` (``A, B, C``) and the names of the example's parts; ``{{`` and ``}}``
            stand for braces.
        example: Its text, choices and parts.

    Raises:
        ConfigError: The template names something else, or is not well formed.
    """
    labels = ascii_uppercase[: len(example.choices)]
    values = {
        **example.parts,
        "text": example.text,
        "question": example.text,
        "choices": "\n".join(
            f"{label}. {choice}" for label, choice in zip(labels, example.choices, strict=True)
        ),
        "label_list": ", ".join(labels),
    }
    pieces = []
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(f"template {template!r} is not well formed: {error}") from error
    for literal, name, _, _ in parsed:
        pieces.append(literal)
        if name is None:
            continue
        if name not in values:
            raise ConfigError(
                f"template {template!r} has the unknown name {{{name}}}; expected one of "
                f"{', '.join(values)}"
            )
        pieces.append(values[name])
    return "".join(pieces)

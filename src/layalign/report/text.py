"""Text of strangers, made fit to be shown."""

from __future__ import annotations

import re
from typing import Any

# Nobody sees them, and they could hide text or reorder what stands beside it: control characters,
# embeddings, overrides and isolates of writing directions, lone surrogates, noncharacters.
_MISLEADING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef"
    "\ufffe\uffff]"
)


def visible(value: Any) -> Any:
    """Name characters that would mislead by their code point, such as ``[U+202E]``.

    Args:
        value: Of any type; what is not plain text, and text that is HTML already, stays as it is.
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    lines = value.replace("\r\n", "\n").replace("\r", "\n")
    return _MISLEADING.sub(lambda match: f"[U+{ord(match[0]):04X}]", lines)

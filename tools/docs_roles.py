"""Show the roles in docstrings, such as :class:`X`, as links in the documentation's web site."""

from __future__ import annotations

import re
from typing import Any

from griffe import Docstring, Extension, Object

ROLE = re.compile(r":(?:class|func|meth|attr|mod|data):`~?(?P<name>[^`]+)`")


class Roles(Extension):
    """Make Markdown of the roles of all docstrings."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite one docstring; names are shown as code."""
        if isinstance(obj.docstring, Docstring):
            obj.docstring.value = ROLE.sub(r"`\g<name>`", obj.docstring.value)

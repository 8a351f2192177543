"""Runs, evaluations and comparisons as one HTML page that needs nothing else."""

from layalign.report.page import write_report

__all__ = ["write_report"]

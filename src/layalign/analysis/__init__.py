"""Analysis: what sentences, layers, gates and mixing weights of a checkpoint look like."""

from layalign.analysis.measure import analyze
from layalign.analysis.sentences import sentence_source
from layalign.analysis.tables import write_analysis
from layalign.analysis.weights import Weights, read_weights

__all__ = ["Weights", "analyze", "read_weights", "sentence_source", "write_analysis"]

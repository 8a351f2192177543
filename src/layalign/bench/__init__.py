"""Measure time and memory beside the bare language model and the published computation."""

from layalign.bench.generation import bench_generation
from layalign.bench.loading import bench_loading, checkpoint_setup
from layalign.bench.setup import Setup
from layalign.bench.training import bench_training

__all__ = ["Setup", "bench_generation", "bench_loading", "bench_training", "checkpoint_setup"]

"""Serving a checkpoint: continuous batching, and an OpenAI-compatible server on top of it.

``engine`` and what it imports know nothing of the web. ``app`` needs the extra ``layalign[serve]``.
"""

"""Serving a checkpoint: continuous batching, and an OpenAI-compatible server on top of it.

``engine``, ``rows``, ``sampling``, ``transcript`` and ``prompts`` know nothing of the web; ``schema``
and ``app`` need the extra ``layalign[serve]``.
"""

"""Checkpoints to give away: folders with only what they need, and a card that describes them."""

from layalign.publishing.folder import export

__all__ = ["export"]

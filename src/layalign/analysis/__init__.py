"""Analysis: what the layers, gates and sentences of a checkpoint look like, as numbers."""

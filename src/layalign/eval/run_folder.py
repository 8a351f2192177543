"""What a run leaves in its folder, by name; without torch, so that reading runs is quick."""

from __future__ import annotations

RECIPE_NAME = "recipe.yaml"
"""The recipe as it was carried out."""

SUMMARY_NAME = "summary.json"
"""The figures, once the run is complete."""

PREDICTIONS_FOLDER = "predictions"
"""The answers, one file for each system."""

FINETUNE_NAME = "finetune.json"
"""What a fine-tune leaves beside the weights: the prompt that it used, and its figures."""

"""The composite model and its parts; importing registers them with transformers' Auto classes."""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from layalign.model.adapter import Adapter
from layalign.model.aligner import LayerWiseAligner
from layalign.model.composite import LayAlignModel
from layalign.model.config import LayAlignConfig

AutoConfig.register(LayAlignConfig.model_type, LayAlignConfig, exist_ok=True)
AutoModel.register(LayAlignConfig, LayAlignModel, exist_ok=True)
AutoModelForCausalLM.register(LayAlignConfig, LayAlignModel, exist_ok=True)

__all__ = ["Adapter", "LayAlignConfig", "LayAlignModel", "LayerWiseAligner"]

"""Load and save models in Hugging Face's format: ``config.json`` and ``model.safetensors``, or its shards."""

from course_lib.models.pretrained.conversion import Conversion
from course_lib.models.pretrained.gpt2 import GPT2

CONVERSIONS: dict[str, Conversion] = {"gpt2": GPT2}  # by config.json's "model_type"

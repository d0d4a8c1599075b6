"""For the tests of the objectives: Hugging Face stays offline."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: only its model files are used, no weights

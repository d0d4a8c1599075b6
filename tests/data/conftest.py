"""For the tests of the data: Hugging Face stays offline."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: only its tokenizer is used, no files of others

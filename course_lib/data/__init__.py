"""Text becomes batches: corpora, tokenizers, splits, batches (chapters 00 and 01)."""

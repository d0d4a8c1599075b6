"""Language models: from counting (chapter 00) to Transformers."""

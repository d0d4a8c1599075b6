"""Weights of others in the models of this course, and ours in theirs: folders in Hugging Face's format."""

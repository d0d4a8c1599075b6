"""The parts a Transformer is made of: positions, masks, attention and its cache."""

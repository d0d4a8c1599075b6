"""The parts of a Transformer: positions, masks, attention and its cache, norms, the feed-forward layer, the block."""

"""What a model is trained for: each objective turns its outputs into a loss, in nats per token."""

"""Using a trained model: it writes, it translates, and one looks inside."""

"""Using a trained model: it writes, translates and predicts, one scores what it says, and one looks inside."""

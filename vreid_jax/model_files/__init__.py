"""Model files: weights with their metadata, model cards, and the Hugging Face hub."""

"""Files of weights that say what they are of: the format, the card, the hub."""

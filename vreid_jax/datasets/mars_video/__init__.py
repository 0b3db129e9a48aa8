"""MARS as a TFDS dataset."""

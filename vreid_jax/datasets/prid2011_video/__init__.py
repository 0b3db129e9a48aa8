"""PRID 2011 as a TFDS dataset."""

"""A folder of tracklets as a TFDS dataset."""

"""DukeMTMC-VideoReID as a TFDS dataset."""

"""iLIDS-VID as a TFDS dataset."""

"""Draw pictures of data and results: arrays in, pictures out."""

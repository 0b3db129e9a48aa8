"""Video person re-identification in JAX: four published systems as one library."""

__version__ = "0.1.0"

"""Video person re-identification in JAX: four published systems as one library."""

__version__ = "0.1.0"


def load(path=None):
    """Load a trained model, of a workdir, a `.safetensors` file or, without a path, the one that ships with the library.

    See `vreid_jax.inference.load`.
    """
    from vreid_jax import inference  # `import vreid_jax.datasets` must not import JAX

    return inference.load(path)

"""Video person re-identification in JAX: four published systems as one library."""

__version__ = "0.1.0"


def load(path):
    """Load a trained model, of a workdir or a `.safetensors` file: see `vreid_jax.inference.load`."""
    from vreid_jax import inference  # `import vreid_jax.datasets` must not import JAX

    return inference.load(path)

"""Dense layers whose products are float32 on every device."""

import functools

from flax import linen as nn
from jax.lax import Precision

Dense = functools.partial(nn.Dense, precision=Precision.HIGHEST)
"""Flax's layer at the highest precision: for heads and masks, which are small and whose results are compared.

By default a GPU would round the factors of a float32 product to TF32, a TPU to bfloat16.
"""

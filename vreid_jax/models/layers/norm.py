"""Batch normalisation as every network here uses it."""

from __future__ import annotations

from functools import partial

from flax import linen as nn

# Statistics and the normalisation itself are float32 whatever the compute dtype; under jit on a mesh they are global
# over the batch, so no axis name is given.
BatchNorm = partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5, axis_name=None)

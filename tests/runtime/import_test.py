"""An import of the library changes nothing outside of it."""

import subprocess
import sys

CODE = """
import importlib, logging, os, pkgutil, signal, sys, warnings
# What other packages change when they are imported is theirs; each is imported before the first look.
import absl.logging, array_record, chex, cv2, etils.epath, flax.linen, grain, jax, jax.export, jaxtyping, ml_collections
import numpy, optax, orbax.checkpoint, safetensors.numpy, scipy.cluster.hierarchy, scipy.io, scipy.linalg
import tensorboardX, tensorflow_datasets, tqdm
from absl import flags
from ml_collections import config_flags
{optional}

def outside():
    root = logging.getLogger()
    return {{
        "os.environ": dict(os.environ),
        "flags are parsed": flags.FLAGS.is_parsed(),
        "logging": (root.level, root.manager.disable, list(root.handlers), list(root.filters)),
        "signal handlers": {{number: signal.getsignal(number) for number in signal.valid_signals()}},
        "jax.config": dict(jax.config.values),
        "warnings": list(warnings.filters),
        "sys": (list(sys.path), sys.excepthook, sys.stdout, sys.stderr),
        "NumPy's errors": numpy.geterr(),
        "folder": os.getcwd(),
    }}

import vreid_jax
before, count = outside(), 0
for module in pkgutil.walk_packages(vreid_jax.__path__, "vreid_jax."):
    try:
        importlib.import_module(module.name)
        count += 1
    except ModuleNotFoundError as missing:  # of an extra
        assert not missing.name.startswith("vreid_jax"), missing
    after = outside()
    for name, value in before.items():
        assert after[name] == value, f"importing {{module.name}} changes {{name}}: {{value}} to {{after[name]}}"
assert count > 100, count
"""
OPTIONAL = ("matplotlib.pyplot", "pyarrow.parquet", "lance", "onnx", "onnxruntime", "huggingface_hub", "torch")


def test_an_import_changes_nothing_outside_the_library():
    optional = "\n".join(f"try:\n    import {name}\nexcept ModuleNotFoundError:\n    pass" for name in OPTIONAL)
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(optional=optional)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

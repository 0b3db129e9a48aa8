"""What pyproject.toml cannot say: `configs/`, at the top of the repository, is the package `vreid_jax.configs` of a wheel."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["vreid_jax*"]), "vreid_jax.configs"],
    package_dir={"vreid_jax.configs": "configs"},
    include_package_data=False,  # of other files those that pyproject.toml names
)

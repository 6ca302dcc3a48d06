"""What pyproject.toml cannot say: the recipes lie beside the package, and travel inside it."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["hf_lrsched*"]), "hf_lrsched.recipes"],
    package_dir={"hf_lrsched.recipes": "recipes"},
)

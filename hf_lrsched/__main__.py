"""``python -m hf_lrsched``: the command line."""

from .cli import main

main(prog_name="hf-lrsched")

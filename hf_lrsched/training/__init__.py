"""Inside a run: the only package, with the command line, that knows torch, transformers and accelerate.

Importing this package loads none of them; each module loads what it needs.
"""

"""What Python runs as it starts, where `hf-lrsched run` has put this folder on PYTHONPATH: it registers the schedules.

It takes the place of the `sitecustomize` that the environment has of its own (coverage, Debian and clusters use one), so it
runs that first: it may well be what makes this package importable. It may meet any Python, of any environment, and keeps none
from starting.
"""

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec

_HERE = os.path.dirname(os.path.abspath(__file__))
_SAID = "HF_LRSCHED_UNREGISTERED"  # the environment whose processes have been told that they do without


def _run_the_next() -> None:
    """The `sitecustomize` behind this one; `import sitecustomize` gives that from now on."""
    behind = [os.path.abspath(entry) for entry in sys.path].index(_HERE) + 1
    found = PathFinder.find_spec("sitecustomize", sys.path[behind:])
    if found is not None and found.loader is not None:
        theirs = sys.modules["sitecustomize"] = module_from_spec(found)
        found.loader.exec_module(theirs)


def _register() -> None:
    root, before = os.path.dirname(os.path.dirname(_HERE)), list(sys.path)
    # A clone may lend itself to every Python. The folder of an installation holds packages that fit one Python alone.
    if find_spec("hf_lrsched") is None and os.path.basename(root) not in ("site-packages", "dist-packages"):
        sys.path.append(root)
    try:
        import hf_lrsched  # noqa: F401  # importing it registers
    except Exception as error:  # an older Python may find it impossible to read
        sys.path[:] = before
        if os.environ.get(_SAID) != sys.prefix:
            os.environ[_SAID] = sys.prefix
            sys.stderr.write(
                f"hf-lrsched run: {sys.executable} cannot import hf_lrsched ({error}), so Transformers does not know its "
                "schedules there; install hf_lrsched for that Python\n"
            )


if __name__ == "sitecustomize":  # and not where a tool imports every file of the package
    try:
        _run_the_next()
    finally:
        _register()

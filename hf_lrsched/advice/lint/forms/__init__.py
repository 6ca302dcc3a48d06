"""The projects whose configurations are read, one a file: is a document its own, and what do its keys mean?

To be listed in `FORMS` is enough to be asked; the first that knows a document reads it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..configuration import Configuration
from ..document import Document
from .accelerate import Accelerate
from .axolotl import Axolotl
from .deepspeed import DeepSpeed
from .form import Reader
from .litgpt import LitGPT
from .llamafactory import LlamaFactory
from .torchtune import Torchtune
from .transformers import Transformers

FORMS: tuple[Reader, ...] = (
    *(DeepSpeed(), Accelerate()),
    *(Torchtune(), LitGPT(), Axolotl(), LlamaFactory()),
    Transformers(),
)

__all__ = ["FORMS", "Reader", "read"]


def read(document: Document) -> Iterator[Configuration]:
    """The configurations that a document is or holds."""
    for form in FORMS:
        found = list(form.read_all(document))
        if found:
            yield from found
            return

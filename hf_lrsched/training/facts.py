"""What the diagnosis is told of model and optimizer, beside their curves.

What it does not know: weights that are spread over processes (FSDP, DeepSpeed's ZeRO 3); nothing is said of those.
"""

from __future__ import annotations

from typing import Any

import torch

_LANGUAGE = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_ONES = ("weight", "gamma")  # how torch and Transformers call what a normalisation layer multiplies by


def facts(model: Any, optimizer: Any) -> dict[str, Any]:
    """The optimizer's class, whether the model is untrained, the share of parameters that are trained, and if of adapters.

    Of Transformers' language models also their ``vocabulary``, of its classifiers the number of ``labels``.

    >>> model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
    >>> facts(model, torch.optim.SGD(model.parameters()))
    {'optimizer': 'SGD', 'untrained': True, 'trainable': 1.0, 'adapters': False}
    """
    optimizer = getattr(optimizer, "optimizer", optimizer)  # accelerate's has the real one
    sizes = [(weight.numel(), weight.requires_grad) for weight in model.parameters()]
    every = sum(size for size, _ in sizes)
    return {
        "optimizer": type(optimizer).__name__,
        "untrained": untrained(model),
        "trainable": sum(size for size, trained in sizes if trained) / every if every else None,
        "adapters": hasattr(getattr(model, "module", model), "peft_config"),
        **_choices(getattr(model, "module", model)),
    }


def _choices(model: Any) -> dict[str, int]:
    """Among how many the model tells apart, where its loss is the cross-entropy over them."""
    model = model.get_base_model() if hasattr(model, "peft_config") else model
    name, config = type(model).__name__, getattr(model, "config", None)
    size, labels = getattr(config, "vocab_size", None), getattr(config, "num_labels", None)
    if name.endswith(_LANGUAGE) and isinstance(size, int):
        return {"vocabulary": size}
    plain = getattr(config, "problem_type", None) in (None, "single_label_classification")
    return {"labels": labels} if name.endswith("Classification") and plain and isinstance(labels, int) else {}


@torch.no_grad()
def untrained(model: Any) -> bool | None:
    """Whether `model` has the weights that it was made with: all of its normalisation layers still multiply by 1.

    Or have 0, with which Gemma's begin, as they add 1 to it. None for a model without such layers, and where weights lie
    elsewhere. One look on the device at each layer.
    """
    norms = [
        weight
        for name, weight in model.named_parameters()
        if weight.ndim == 1 and name.rpartition(".")[2] in _ONES and weight.numel() > 1
    ]
    if not norms or any(type(weight) is not torch.nn.Parameter for weight in norms):  # a DTensor has its values elsewhere
        return None
    return bool(torch.stack([(weight == 1).all() | (weight == 0).all() for weight in norms]).all())

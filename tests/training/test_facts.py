"""What is told of a model and its optimizer before the first step."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
from accelerate import Accelerator
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    ResNetConfig,
    ResNetForImageClassification,
)

from hf_lrsched.training.facts import facts, untrained

SIZE: dict[str, Any] = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 16,
}


def llama() -> Any:
    return LlamaForCausalLM(LlamaConfig(**SIZE))


def stepped(model: Any) -> Any:
    """After one optimizer step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batch = torch.arange(8)[None]
    model(input_ids=batch, labels=batch).loss.backward()
    optimizer.step()
    return model


def small(*layers: torch.nn.Module) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(4, 4), *layers)


def test_a_model_from_its_configuration_is_untrained_until_its_first_step() -> None:
    model = llama()
    assert untrained(model) is True
    assert untrained(stepped(model)) is False


def test_a_model_whose_layers_add_1_to_their_weights() -> None:
    gemma: Any = GemmaForCausalLM(GemmaConfig(**SIZE, head_dim=8))
    assert untrained(gemma) is True
    assert untrained(stepped(gemma)) is False


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision(dtype: torch.dtype) -> None:
    assert untrained(llama().to(dtype)) is True


@pytest.mark.parametrize("layer", [torch.nn.LayerNorm(4), torch.nn.BatchNorm1d(4), torch.nn.RMSNorm(4)])
def test_every_layer_counts(layer: torch.nn.Module) -> None:
    model = small(layer, torch.nn.LayerNorm(4))
    assert untrained(model) is True
    with torch.no_grad():
        layer.weight[0] = 1.01  # type: ignore[operator]  # a weight, not a module
    assert untrained(model) is False


def test_without_normalisation_layers_nobody_knows() -> None:
    assert untrained(small()) is None
    assert untrained(small(torch.nn.LayerNorm(4, elementwise_affine=False))) is None
    assert untrained(torch.nn.Identity()) is None


def test_weights_that_lie_elsewhere_tell_nothing() -> None:
    class Elsewhere(torch.nn.Parameter):
        """Not a Parameter itself, as a DTensor's is not."""

    layer = torch.nn.LayerNorm(4)
    layer.weight = Elsewhere(torch.ones(4))
    assert untrained(small(layer)) is None


def test_the_optimizer_is_the_one_that_accelerate_holds() -> None:
    model = llama()
    plain = torch.optim.SGD(model.parameters(), lr=0.1)
    assert facts(model, plain)["optimizer"] == "SGD"
    assert facts(model, Accelerator(cpu=True).prepare_optimizer(plain))["optimizer"] == "SGD"


def test_the_share_that_is_trained() -> None:
    model = llama()
    optimizer = torch.optim.AdamW(model.parameters())
    told = facts(model, optimizer)
    assert (told["optimizer"], told["untrained"], told["trainable"], told["adapters"]) == ("AdamW", True, 1.0, False)
    for weight in model.model.parameters():
        weight.requires_grad = False
    every = sum(weight.numel() for weight in model.parameters())
    assert facts(model, optimizer)["trainable"] == 32 * 16 / every
    assert facts(torch.nn.Identity(), optimizer)["trainable"] is None


def test_adapters() -> None:
    model = stepped(llama())
    lora: Any = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"]))
    told = facts(lora, torch.optim.AdamW(lora.parameters()))
    assert (told["adapters"], told["untrained"]) == (True, False)
    assert 0 < told["trainable"] < 0.1

    class Wrapped(torch.nn.Module):
        """As DistributedDataParallel does."""

        module = lora

    assert facts(Wrapped(), torch.optim.AdamW(lora.parameters()))["adapters"] is True


def test_among_how_many_a_model_tells_apart() -> None:
    size: dict[str, Any] = {"embedding_size": 4, "hidden_sizes": [4], "depths": [1], "layer_type": "basic", "num_labels": 7}
    images: Any = ResNetForImageClassification(ResNetConfig(**size))
    plain = small()
    assert facts(llama(), torch.optim.SGD(plain.parameters()))["vocabulary"] == 32
    assert facts(images, torch.optim.SGD(plain.parameters()))["labels"] == 7
    assert not {"vocabulary", "labels"} & set(facts(plain, torch.optim.SGD(plain.parameters())))


def test_adapters_tell_of_the_model_below_them() -> None:
    adapted: Any = peft.get_peft_model(llama(), peft.LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
    assert facts(adapted, torch.optim.SGD(adapted.parameters()))["vocabulary"] == 32

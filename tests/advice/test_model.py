from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from peft import LoHaConfig, LoraConfig, PeftMixedModel, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, LlamaForCausalLM, MixtralConfig

from hf_lrsched.advice.model import Model, read_adapters, read_model, size_in

TINY: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "vocab_size": 500,
}


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 8e9),
        ("Qwen/Qwen3-0.6B", 0.6e9),
        ("Qwen/Qwen3-30B-A3B", 30e9),
        ("mistralai/Mixtral-8x7B-v0.1", 56e9),
        ("HuggingFaceTB/SmolLM2-135M", 135e6),
        ("EleutherAI/pythia-70m-deduped", 70e6),
        ("moonshotai/Kimi-K2-Instruct", 1e12),
        ("TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T", 1.1e9),
        ("mosaicml/mpt-1b-redpajama-200b", 1e9),
        ("microsoft/Phi-3-mini-128k-instruct", None),
        ("1e9", 1e9),
        ("7000000000", 7e9),
        ("1.5T", 1.5e12),
        ("7BB", None),
        ("7,5B", None),
        ("openai/gpt-oss-20b", 20e9),
        ("gpt2", 124e6),
        ("google-bert/bert-base-uncased", 110e6),
        ("microsoft/phi-2", None),
        ("some/model-4bit", None),
        ("some/llama3-v2", None),
    ],
)
def test_a_size_is_read_from_a_name(name: str, size: float | None) -> None:
    assert read_model(name).parameters == size


def test_a_name_in_small_letters_before_a_word_is_no_size() -> None:
    assert size_in("3bears") is None
    assert size_in("v2b1") is None


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**TINY, num_key_value_heads=2, tie_word_embeddings=True),
        LlamaConfig(**TINY, num_key_value_heads=4),
        MixtralConfig(**TINY, num_key_value_heads=2, num_local_experts=4, bos_token_id=1, eos_token_id=2),
        GPT2Config(n_embd=64, n_layer=2, n_head=4, vocab_size=500, n_positions=8, bos_token_id=1, eos_token_id=2),
    ],
    ids=lambda config: config.model_type,
)
def test_a_config_tells_the_size_that_the_weights_have(config: Any, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]  # Transformers has no types here
    weights = read_model(model)
    assert weights.parameters == sum(weight.numel() for weight in model.parameters())
    assert (weights.hidden, weights.family, weights.said) == (64, config.model_type, "its weights")
    config.save_pretrained(tmp_path)
    alone = read_model(tmp_path)
    assert alone.parameters == pytest.approx(weights.parameters, rel=0.05)
    assert alone.said == "its config.json"
    model.save_pretrained(tmp_path)
    saved = read_model(str(tmp_path))
    assert saved.said == "its weights"
    assert saved.parameters == weights.parameters


def test_embeddings_are_told_apart() -> None:
    model = LlamaForCausalLM(LlamaConfig(**TINY))
    known = read_model(model)
    assert known.embedding == 2 * 500 * 64
    assert known.matrices == known.parameters - 2 * 500 * 64  # type: ignore[operator]  # it is known
    assert Model(parameters=5.0).matrices == 5.0


def test_an_adapter_is_as_large_as_its_base(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "Qwen/Qwen3-8B"}))
    assert read_model(tmp_path).parameters == 8e9


def test_the_text_part_of_a_larger_model_counts(tmp_path: Path) -> None:
    text = {"hidden_size": 2048, "num_hidden_layers": 2, "vocab_size": 100}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": text}))
    assert read_model(tmp_path).hidden == 2048


def test_what_is_not_known_is_none() -> None:
    assert read_model() == Model()
    assert read_model("some/thing") == Model("some/thing")
    known = read_model(7e9)
    assert read_model(known) is known


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "a model of 3 parameters is none"),
        ([], "list is no model; give one in memory, a folder"),
        (True, "bool is no model"),
    ],
)
def test_what_is_no_model_is_refused(given: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_model(given)


def test_a_folder_that_holds_no_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"config\.json cannot be read"):
        read_model(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match="holds a list, not a model's configuration"):
        read_model(tmp_path)


def test_weights_that_are_cut_short_are_not_counted(tmp_path: Path) -> None:
    LlamaConfig(**TINY).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x10\x00")
    assert read_model(tmp_path).said == "its config.json"


def test_adapters_are_read_and_are_no_part_of_the_size(tmp_path: Path) -> None:
    def config(**words: Any) -> LoraConfig:
        return LoraConfig(r=8, lora_alpha=64, use_rslora=True, target_modules=["q_proj"], task_type="CAUSAL_LM", **words)

    size = read_model(LlamaForCausalLM(LlamaConfig(**TINY))).parameters
    lora = {"peft": "lora", "r": 8, "alpha": 64, "rslora": True}
    wrapped = get_peft_model(LlamaForCausalLM(LlamaConfig(**TINY)), config())
    held = LlamaForCausalLM(LlamaConfig(**TINY))
    held.add_adapter(config())  # Transformers' own, without PEFT's wrapper
    for model in (wrapped, held):
        assert read_adapters(model) == lora
        assert read_model(model).parameters == size
        assert read_model(model).family == "llama"
    wrapped.save_pretrained(str(tmp_path))
    assert read_adapters(tmp_path) == lora
    dora = get_peft_model(LlamaForCausalLM(LlamaConfig(**TINY)), config(use_dora=True))
    assert read_adapters(dora)["peft"] == "dora"
    assert read_model(dora).parameters == size
    assert read_adapters(LlamaForCausalLM(LlamaConfig(**TINY))) == read_adapters("Qwen/Qwen3-8B") == read_adapters(None) == {}


def test_adapters_of_several_types_are_refused() -> None:
    model = PeftMixedModel(LlamaForCausalLM(LlamaConfig(**TINY)), LoraConfig(target_modules=["q_proj"]), "a")
    model.add_adapter("b", LoHaConfig(target_modules=["v_proj"]))
    model.set_adapter(["a", "b"])
    with pytest.raises(ValueError, match=r"adapters of several types train at once: .*LORA.*LOHA"):
        read_adapters(model)


def test_an_adapter_that_names_itself_has_no_base(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path), "peft_type": "LORA"}))
    assert read_model(tmp_path).parameters is None


def test_weights_are_counted_once(tmp_path: Path) -> None:
    model = LlamaForCausalLM(LlamaConfig(**TINY))
    model.save_pretrained(tmp_path)
    (tmp_path / "consolidated.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes())
    assert read_model(tmp_path).parameters == read_model(model).parameters


def test_what_is_no_model_of_the_hub_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"the config\.json of no/body cannot be fetched"):
        read_model("no/body", download=True)
    with pytest.raises(ValueError, match="there is no folder"):
        read_model("./nowhere")
    with pytest.raises(ValueError, match="a model's name of 5000 characters is none"):
        read_model("x" * 5000)

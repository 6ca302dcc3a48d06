"""What a learning rate depends on in a model: how large it is, how wide, and of which family.

`read_model` finds that out from a model in memory, a folder, a Hub id or a size, without loading a weight and, unless it is
told to, without a network. What it does not know: a size that neither the files nor the name give.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Names without a size in them; parameters as their cards on the Hub have them.
_KNOWN = {
    "gpt2": 124e6, "gpt2-medium": 355e6, "gpt2-large": 774e6, "gpt2-xl": 1.56e9, "distilgpt2": 82e6,
    "bert-base-uncased": 110e6, "bert-base-cased": 108e6, "bert-large-uncased": 336e6, "distilbert-base-uncased": 66e6,
    "deepseek-v3": 671e9, "deepseek-v3-base": 671e9, "deepseek-v3.1": 671e9, "deepseek-r1": 671e9, "kimi-k2-instruct": 1e12,
    "kimi-k2-base": 1e12, "kimi-k2-thinking": 1e12,
    "roberta-base": 125e6, "roberta-large": 355e6, "t5-small": 60.5e6, "t5-base": 223e6, "t5-large": 738e6,
}  # fmt: skip
# In a name: 8B, 350M, 8x7B, 1p5b. Not 4k and 1M, which are contexts, nor 3T, which are tokens.
_SIZE = re.compile(r"(?<![a-z0-9.,])(?!1m)(?:(\d+)x)?(\d+(?:[.p]\d+)?)([mb])(?![a-z0-9])", re.IGNORECASE)
_UNDERSCORED = re.compile(r"-(\d)_(\d)(?=b(?![a-z0-9]))", re.IGNORECASE)  # stablelm-2-1_6b
_COUNT = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?) ?([kmbt]?)", re.IGNORECASE)
_ADAPTER = re.compile(r"\.(lora|vera|ia3|oft|boft|hada|lokr|adalora|randlora|shira|c3a|road|fourierft)_")  # PEFT's parameters
_UNITS = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_FAMILIES = (
    "llama",
    "qwen",
    "mistral",
    "mixtral",
    "gemma",
    "phi",
    "olmo",
    "smollm",
    "deepseek",
    "gpt_oss",
    "bert",
    "t5",
    "gpt2",
)
_LARGEST, _SMALLEST = 1e14, 1e3  # beyond these a number is no model's size
_LONGEST = 1000  # characters of a path or a name


@dataclass(frozen=True)
class Model:
    """A model, as far as it is known; None is what is not.

    Args:
        name: as given.
        parameters: all of them, those of experts that are not active too.
        hidden: hidden width.
        family: ``config.model_type``, or a guess from the name.
        embedding: parameters among these that are embeddings, the output's too where it is its own.
        said: where the size comes from, in words.
    """

    name: str = ""
    parameters: float | None = None
    hidden: int | None = None
    family: str = ""
    embedding: float | None = None
    said: str = ""

    @property
    def matrices(self) -> float | None:
        """Parameters that are no embeddings, which the pre-training laws count; all of them where that is not known."""
        if self.parameters is None or self.embedding is None or self.embedding >= self.parameters:
            return self.parameters
        return self.parameters - self.embedding


def read_model(model: Any = None, *, download: bool = False) -> Model:
    """What is known of `model`: one in memory, a folder with its config.json, a Hub id, a size such as "8B" or a number.

    Args:
        model: also a `Model`, or None for one that is not known.
        download: whether the config.json of a Hub id may be fetched where it lies in no cache.

    >>> read_model("meta-llama/Llama-3.1-8B-Instruct").parameters
    8000000000.0
    >>> read_model("Qwen/Qwen3-30B-A3B"), read_model(350e6).parameters, read_model("350M").parameters
    (Model(name='Qwen/Qwen3-30B-A3B', parameters=30000000000.0, hidden=None, family='qwen', embedding=None, said='its name'),
     350000000.0, 350000000.0)

    Raises:
        ValueError: for a number that is no model's size, and a folder without a config.json that can be read.
    """
    if model is None:
        return Model()
    if isinstance(model, Model):
        return model
    if isinstance(model, int | float) and not isinstance(model, bool):
        if not _SMALLEST <= model <= _LARGEST:
            raise ValueError(f"a model of {model:g} parameters is none; give its size as 350e6 or '350M'")
        return Model(parameters=float(model), said="given")
    if isinstance(model, str | Path):
        return _of_text(str(model), download=download)
    if hasattr(model, "parameters") and callable(model.parameters):
        return _in_memory(model)
    raise ValueError(f"{type(model).__name__} is no model; give one in memory, a folder, a Hub id or a size such as '8B'")


def read_adapters(model: Any) -> dict[str, Any]:
    """The PEFT type of a model or of an adapter's folder, and LoRA's numbers, as `recommend` takes them; empty without one.

    Raises:
        ValueError: where adapters of several types train at once.
    """
    if isinstance(model, str | Path):
        file = Path(model) / "adapter_config.json" if len(str(model)) <= _LONGEST else None
        return _of_adapter(_json(file)) if file is not None and file.is_file() else {}
    configs = getattr(model, "peft_config", None)
    if not isinstance(configs, Mapping) or not configs:
        return {}
    active = getattr(model, "active_adapters", None)  # PEFT has a list, Transformers' own a method
    names = active() if callable(active) else active or list(configs)
    kinds = [_plain(configs[name]) for name in names if name in configs]
    if len({str(kind.get("peft_type")) for kind in kinds}) > 1:
        raise ValueError(
            f"adapters of several types train at once: {', '.join(str(kind.get('peft_type')) for kind in kinds)}"
        )
    found = _of_adapter(kinds[0]) if kinds else {}
    if found.get("peft") == "lora" and getattr(model, "is_loaded_in_4bit", False):  # PEFT's wrapper passes it on
        found["peft"] = "qlora"
    return found


def _plain(config: Any) -> dict[str, Any]:
    return dict(config.to_dict()) if hasattr(config, "to_dict") else dict(config)


def _of_adapter(config: Mapping[str, Any]) -> dict[str, Any]:
    kind = config.get("peft_type")
    peft = str(getattr(kind, "value", kind)).lower()
    if peft != "lora":
        return {"peft": peft}
    numbers = {"r": config.get("r"), "alpha": config.get("lora_alpha"), "rslora": bool(config.get("use_rslora"))}
    return {"peft": "dora" if config.get("use_dora") else peft, **numbers}


def _of_text(model: str, *, download: bool) -> Model:
    if (count := count_in(model)) is not None:
        return read_model(count)
    if len(model) > _LONGEST:
        raise ValueError(f"a model's name of {len(model)} characters is none; give a folder, a Hub id or a size such as '8B'")
    if Path(model).is_dir():
        return _of_folder(Path(model))
    if model.startswith((".", "/", "~")):
        raise ValueError(f"there is no folder {model}")
    return _of_name(model, download=download)


def _in_memory(model: Any) -> Model:
    model = model.get_base_model() if hasattr(model, "get_base_model") else model  # without PEFT's wrapper
    config: Any = getattr(model, "config", None)
    plain = config.to_dict() if hasattr(config, "to_dict") else config if isinstance(config, dict) else {}
    about = _of_config(plain, str(plain.get("_name_or_path") or type(model).__name__))
    # DeepSpeed's ZeRO-3 leaves the count in ds_numel where the weight itself lies elsewhere.
    weights = [weight for name, weight in model.named_parameters() if not _ADAPTER.search(name)]
    counted = sum(getattr(weight, "ds_numel", weight.numel()) for weight in weights)
    if hasattr(model, "num_parameters") and not any(hasattr(weight, "ds_numel") for weight in weights):
        added = sum(weight.numel() for name, weight in model.named_parameters() if _ADAPTER.search(name))
        counted = model.num_parameters() - added  # knows that 4-bit weights are packed
    return Model(about.name, float(counted), about.hidden, about.family, about.embedding, "its weights")


def _of_folder(folder: Path) -> Model:
    adapter = folder / "adapter_config.json"
    if not (folder / "config.json").is_file() and adapter.is_file():
        base = _json(adapter).get("base_model_name_or_path")
        alike = not isinstance(base, str) or not base or Path(base).resolve() == folder.resolve()
        return Model(str(folder)) if alike else read_model(base)
    about = _of_config(_json(folder / "config.json"), str(folder))
    counted = _in_safetensors(folder)
    if counted is None:
        return about
    return Model(about.name, counted, about.hidden, about.family, about.embedding, "its weights")


def _json(file: Path) -> dict[str, Any]:
    try:
        read = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(read, dict):
        raise ValueError(f"{file} holds a {type(read).__name__}, not a model's configuration")
    return read


def _in_safetensors(folder: Path) -> float | None:
    """Parameters in the headers of its weights; None where there are none, or packed ones, which do not say how many."""
    import math

    from safetensors import SafetensorError, safe_open

    total, files = 0, sorted(folder.glob("model*.safetensors"))  # not those of adapters, nor a second copy in one file
    for file in files:
        try:
            with safe_open(file, framework="numpy") as weights:
                for name in weights.keys():  # noqa: SIM118  # it is no mapping
                    part = weights.get_slice(name)
                    if part.get_dtype() in ("U8", "I32", "I8"):
                        return None
                    total += math.prod(part.get_shape())
        except (SafetensorError, OSError):
            return None
    return float(total) if total else None


def _of_name(name: str, *, download: bool) -> Model:
    family = _family(name)
    known = _cached(name) if "/" in name or name in _KNOWN else None
    if known is None and download:
        known = _fetched(name)
    about = _of_config(_json(Path(known)), name) if known else Model(name, family=family)
    size = size_in(name.rpartition("/")[2])
    if size is None:
        size = _KNOWN.get(name.rpartition("/")[2].lower())
    if size is None:
        return about
    return Model(name, size, about.hidden, about.family or family, about.embedding, "its name")


def _fetched(name: str) -> str:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return hf_hub_download(name, "config.json")
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ValueError(
            f"the config.json of {name} cannot be fetched ({type(error).__name__}); give a size such as '8B'"
        ) from error


def _cached(name: str) -> str | None:
    """The config.json of a Hub id that lies in the cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return found if isinstance(found, str) else None


def count_in(typed: str) -> float | None:
    """A count as people type it; None for what is none.

    >>> count_in("8B"), count_in("1.5T"), count_in("3e9"), count_in("7BB")
    (8000000000.0, 1500000000000.0, 3000000000.0, None)
    """
    found = _COUNT.fullmatch(typed.strip())
    return float(found[1]) * _UNITS.get(found[2].lower(), 1.0) if found else None


def size_in(name: str) -> float | None:
    """The size in a model's name: the first, as the A3B of 30B-A3B counts active ones; 8x7B is at most 56B.

    >>> size_in("Qwen3-30B-A3B"), size_in("Mixtral-8x7B-v0.1"), size_in("stablelm-2-1_6b"), size_in("Phi-3-mini-4k-instruct")
    (30000000000.0, 56000000000.0, 1600000000.0, None)
    """
    for times, size, unit in _SIZE.findall(_UNDERSCORED.sub(r"-\1.\2", name)):
        count = int(times or 1) * float(size.lower().replace("p", ".")) * _UNITS[unit.lower()]
        if _SMALLEST <= count <= _LARGEST:
            return count
    return None


def _family(name: str) -> str:
    plain = name.lower().replace("-", "_")
    return next((family for family in _FAMILIES if family in plain), "")


def _of_config(config: Mapping[str, Any], name: str) -> Model:
    """From a config.json; its text part, where it has several."""
    text = config.get("text_config")
    words = {**config, **text} if isinstance(text, Mapping) else dict(config)
    hidden = _whole(words, "hidden_size", "n_embd", "d_model", "dim")
    family = str(config.get("model_type") or "") or _family(name)
    embedding = _embedding(words, hidden)
    counted = _counted(words, hidden, embedding)
    return Model(name, counted, hidden, family, embedding, "its config.json" if counted else "")


def _whole(words: Mapping[str, Any], *names: str) -> int | None:
    found = (words.get(name) for name in names)
    return next((value for value in found if isinstance(value, int) and not isinstance(value, bool) and value > 0), None)


def _embedding(words: Mapping[str, Any], hidden: int | None) -> float | None:
    vocabulary = _whole(words, "vocab_size")
    if vocabulary is None or hidden is None:
        return None
    return float(vocabulary * hidden * (1 if words.get("tie_word_embeddings", True) else 2))


def _counted(words: Mapping[str, Any], hidden: int | None, embedding: float | None) -> float | None:
    """Parameters of the matrices and embeddings of a decoder or an encoder: a few per cent too few, for want of norms."""
    layers = _whole(words, "num_hidden_layers", "n_layer", "num_layers")
    if hidden is None or layers is None or embedding is None:
        return None
    heads = _whole(words, "num_attention_heads", "n_head", "num_heads") or 1
    head = _whole(words, "head_dim", "d_kv") or hidden // heads
    shared = _whole(words, "num_key_value_heads") or heads
    attention = 2 * hidden * head * (heads + shared)
    inner = _whole(words, "intermediate_size", "n_inner", "d_ff") or 4 * hidden
    gated = (
        3
        if str(words.get("hidden_act", words.get("hidden_activation", ""))).startswith(("silu", "swiglu", "gelu_pytorch"))
        else 2
    )
    experts = _whole(words, "num_local_experts", "num_experts", "n_routed_experts") or 1
    inner = (_whole(words, "moe_intermediate_size") or inner) if experts > 1 else inner
    return float(layers * (attention + experts * gated * hidden * inner) + embedding)

"""What the recipes train on when nothing is given: text and images that every machine has, with nothing downloaded.

- source: the Python standard library's own modules, split into training and held-out files;
- documentation: the language reference that ships inside Python (`pydoc_data.topics`), which is the other kind of text;
- digits: scikit-learn's 1,797 handwritten digits of 8 x 8 pixels.
"""

from __future__ import annotations

import hashlib
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, ResNetConfig, ResNetForImageClassification

BLOCK = 128  # tokens in a training example: what two CPU cores learn from within the demo's minute
VOCABULARY = 512  # a byte alphabet of 256 and as many merges: a million parameters have no use for more
_END = "<|endoftext|>"
_NOT_SOURCE = {"__pycache__", "encodings", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages"}
_NOT_SOURCE |= {"dist-packages", "test", "tests", "turtledemo"}


@dataclass(frozen=True)
class Texts:
    """Training and held-out documents."""

    train: list[str]
    held_out: list[str]

    @classmethod
    def split(cls, documents: dict[str, str], every: int) -> Texts:
        """One document in `every` is held out, chosen by its name alone, so the same on every machine."""
        out = {name for name in documents if int(hashlib.sha256(name.encode()).hexdigest(), 16) % every == 0}
        return cls(
            train=[text for name, text in documents.items() if name not in out],
            held_out=[text for name, text in documents.items() if name in out],
        )


def source() -> Texts:
    """The standard library's modules: about 9 MB, 1 file in 20 held out."""
    library = Path(sysconfig.get_paths()["stdlib"])
    paths = [path for path in sorted(library.rglob("*.py")) if not _NOT_SOURCE & set(path.relative_to(library).parts)]
    return Texts.split({p.relative_to(library).as_posix(): p.read_text("utf-8", errors="replace") for p in paths}, every=20)


def documentation() -> Texts:
    """The language reference: about 0.7 MB in 80 topics, cut into passages of about 100 tokens; 1 topic in 8 held out."""
    from pydoc_data.topics import topics

    whole = Texts.split(dict(topics), every=8)
    return Texts(_passages(whole.train), _passages(whole.held_out))


def _passages(documents: list[str], characters: int = 256) -> list[str]:
    return [text[i : i + characters] for text in documents for i in range(0, len(text), characters)]


def tokenizer(texts: Texts) -> PreTrainedTokenizerFast:
    """A byte-level BPE learnt on the training documents, in about a second."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts.train, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=_END, pad_token=_END, model_max_length=BLOCK)


def tokens(documents: list[str], words: PreTrainedTokenizerFast) -> np.ndarray:
    """All `documents` as one row of token ids, each closed by the end token."""
    encoded = words.backend_tokenizer.encode_batch(documents)
    return np.concatenate([np.asarray([*one.ids, words.eos_token_id]) for one in encoded])


def blocks(row: np.ndarray, size: int = BLOCK) -> Dataset:
    """A row of tokens as examples of `size` tokens for a causal language model; what is left over is dropped."""
    examples = row[: len(row) // size * size].reshape(-1, size)
    return Dataset.from_dict({"input_ids": examples, "labels": examples}).with_format("torch")


def llama(words: PreTrainedTokenizerFast, hidden_size: int = 128, layers: int = 4) -> LlamaForCausalLM:
    """A Llama, by default of 0.8 million parameters."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=hidden_size,
            intermediate_size=hidden_size * 21 // 8,
            num_hidden_layers=layers,
            num_attention_heads=hidden_size // 32,
            num_key_value_heads=hidden_size // 32,
            max_position_embeddings=2 * BLOCK,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        )
    )


def bigram_loss(train: np.ndarray, held_out: np.ndarray, size: int = BLOCK) -> float:
    """Held-out loss, in nats a token, of the best bigram model counted on all training tokens.

    Scored on the tokens that a model trained on blocks of `size` is scored on: all but the first of each block. Its
    smoothing towards single-token frequencies is the best for the held-out tokens themselves, in the bigram's favour.
    """
    known = int(max(train.max(), held_out.max())) + 1
    pairs = np.zeros((known, known))
    np.add.at(pairs, (train[:-1], train[1:]), 1.0)
    single = np.bincount(train, minlength=known) + 1.0
    single /= single.sum()
    scored = held_out[: len(held_out) // size * size].reshape(-1, size)
    before, after = scored[:, :-1].ravel(), scored[:, 1:].ravel()
    seen = pairs.sum(axis=1)[before]
    losses = [-np.log((pairs[before, after] + a * single[after]) / (seen + a)).mean() for a in (1, 3, 10, 30, 100, 300)]
    return float(min(losses))


def digits() -> tuple[Dataset, Dataset]:
    """Training and held-out digits (4 in 5, shuffled once): pixels as 1 x 8 x 8 floats in [-1, 1], and labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = (data.images[:, None].astype(np.float32) / 8.0) - 1.0
    whole = Dataset.from_dict({"pixel_values": pixels, "labels": data.target})
    whole = whole.cast_column("labels", ClassLabel(names=[str(digit) for digit in range(10)]))
    parts = whole.with_format("torch").train_test_split(test_size=0.2, seed=0)
    return parts["train"], parts["test"]


def cnn() -> ResNetForImageClassification:
    """A ResNet of 0.2 million parameters for 8 x 8 pixels of grey."""
    return ResNetForImageClassification(
        ResNetConfig(
            num_channels=1,
            embedding_size=32,
            hidden_sizes=[32, 64, 128],
            depths=[1, 1, 1],
            layer_type="basic",
            num_labels=10,
            id2label={digit: str(digit) for digit in range(10)},
            label2id={str(digit): digit for digit in range(10)},
        )
    )

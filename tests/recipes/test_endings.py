"""How pretrain.py ends: in several budgets, on demand, with its stream, and after a kill."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Trainer

from hf_lrsched import Checkpoints, wsd

from .conftest import history

Run = Callable[..., dict[str, Any]]
Stops = Callable[..., str]
BLOCK, BATCH = 16, 2
END = "<|endoftext|>"
DOCUMENT = "def f(x):\n    return x"  # 22 bytes, and the end token
SMALL = (
    *("--block_size", str(BLOCK), "--per_device_train_batch_size", str(BATCH), "--gradient_accumulation_steps", "1"),
    *("--learning_rate", "1e-2", "--logging_steps", "1", "--disable_tqdm", "True"),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of a few thousand parameters, and a tokenizer whose tokens are bytes."""
    folder = tmp_path_factory.mktemp("model")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = Tokenizer(models.BPE(vocab={END: 0, **{byte: i for i, byte in enumerate(alphabet, start=1)}}, merges=[]))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    fast: Any = PreTrainedTokenizerFast  # without types in Transformers
    fast(tokenizer_object=words, eos_token=END, pad_token=END).save_pretrained(folder)
    size: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=1 + len(alphabet), **size, **heads)).save_pretrained(folder)
    return folder


@pytest.fixture
def local(model: Path, tmp_path: Path) -> tuple[str, ...]:
    """The arguments of a small run on local files."""
    for name, count in (("train", 100), ("held", 4)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join([json.dumps({"text": DOCUMENT})] * count))
    data = ("--train_file", "train.jsonl", "--validation_file", "held.jsonl")
    return ("pretrain.py", "--model_name_or_path", str(model), *data, *SMALL)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for each training step that is taken."""
    steps: list[int] = []
    training_step = Trainer.training_step

    def counted(*args: Any, **kwargs: Any) -> Any:
        steps.append(1)
        return training_step(*args, **kwargs)

    monkeypatch.setattr(Trainer, "training_step", counted)
    return steps


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused is refused before a step: no run of this test may begin, as some would never end."""

    def begins(self: Trainer, *args: Any, **kwargs: Any) -> None:
        raise AssertionError(f"a run of {self.args.max_steps} steps begins")

    monkeypatch.setattr(Trainer, "train", begins)


def logged(run: Path) -> list[float]:
    """The LR of every step."""
    return [entry["learning_rate"] for entry in history(run) if "loss" in entry]


def told(run: Path) -> list[dict[str, Any]]:
    return [entry for entry in history(run) if "cooldown" in entry]


# Several budgets


def table(printed: str) -> list[list[str]]:
    """The rows under the table's head."""
    lines = printed.splitlines()
    head = next(i for i, line in enumerate(lines) if line.split()[:2] == ["budget", "branches"])
    return [line.split() for line in lines[head + 1 :] if line.strip()[:1].isdigit()]


def test_budgets_train_a_plan_and_run_again_take_no_step(
    local: tuple[str, ...], recipe_run: Run, taken: list[int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe_run(*local, "--budgets", "20,40")
    first = capsys.readouterr().out
    assert "budgets 20, 40: a trunk of 32 steps and branches of 4, 8: 44 steps, 73.3% of the 60" in first
    rows = table(first)
    assert [row[:3] for row in rows] == [["20", "16", "4"], ["40", "32", "8"]]
    assert all(0.0 < float(row[-1]) < 7.0 for row in rows)  # a fresh model is at log(257) = 5.5
    assert len(taken) == 44
    for budget in (20, 40):
        assert (tmp_path / f"runs/pretrain-budgets/branch-{budget}/model.safetensors").exists()
    recipe_run(*local, "--budgets", "20,40")
    assert table(capsys.readouterr().out) == rows
    assert len(taken) == 44
    recipe_run(*local, "--budgets", "640 tokens,1.28K tokens,1.92K tokens", "--warmup_steps", "2")  # 32 in a step
    assert table(capsys.readouterr().out)[:2] == rows
    assert len(taken) == 44 + (48 - 32) + 12


def test_budgets_that_were_killed_go_on(local: tuple[str, ...], recipe_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    training_step, steps = Trainer.training_step, list[int]()

    def dies(*args: Any, **kwargs: Any) -> Any:
        steps.append(1)
        if len(steps) == 34:  # the second step of the first branch
            raise KeyboardInterrupt
        return training_step(*args, **kwargs)

    monkeypatch.setattr(Trainer, "training_step", dies)
    with pytest.raises(KeyboardInterrupt):
        recipe_run(*local, "--budgets", "20,40")
    recipe_run(*local, "--budgets", "20,40")
    assert len(steps) == 34 + 4 + 8


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (("--cooldown_at", "10"), "--budgets and a cooldown on demand were both given; a plan's branches end at their"),
        (("--finish_by", "6h"), "--budgets and a cooldown on demand were both given"),
        (("--lr_scheduler_type", "cosine"), "--budgets needs lr_scheduler_type wsd, as branches leave a stable run; it is"),
        (("--lr_scheduler_kwargs", '{"decay": 0.99}'), "a budget of 20 steps has 18 after the warm-up (2), and the decay"),
        (("--lr_scheduler_kwargs", '{"decya": 4}'), "decya"),
        (("--warmup_steps", "30"), "warmup (30 steps) is longer than the run of 20 steps"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_budgets_is_refused(
    argv: tuple[str, ...], sentence: str, local: tuple[str, ...], stops: Stops
) -> None:
    assert sentence in stops(*local, "--budgets", "20,40", *argv)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("budgets", "sentence"),
    [
        ("many", "budgets='many' is not a length"),
        ("20,,40", "budgets='' is not a length"),
        ("20,20", "budgets=[20, 20]: give one or more numbers of steps, each once"),
        ("0", "budgets"),
        ("20%,40%", "20%"),  # of what?
        ("0.5", "0.5"),
    ],
)
def test_budgets_that_are_none_are_refused(budgets: str, sentence: str, local: tuple[str, ...], stops: Stops) -> None:
    assert sentence in stops(*local, "--budgets", budgets)


def test_another_plan_in_its_folder_is_refused(
    local: tuple[str, ...], recipe_run: Run, stops: Stops, taken: list[int]
) -> None:
    recipe_run(*local, "--budgets", "10", "--output_dir", "plan")
    steps = len(taken)
    again = (*local, "--budgets", "10", "--output_dir", "plan")
    assert "plan was trained with learning_rate 0.01, now 0.001" in stops(*again, "--learning_rate", "1e-3")
    assert "was trained with decay 2, now 3" in stops(*again, "--lr_scheduler_kwargs", '{"decay": 3}')
    assert len(taken) == steps


# On demand


def test_a_run_without_a_number_of_steps_cools_down_where_it_is_told(
    local: tuple[str, ...], recipe_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe_run(*local, "--cooldown_at", "10", "--cooldown_steps", "5", "--warmup_steps", "4")
    folder = tmp_path / "runs/pretrain"
    assert logged(folder) == pytest.approx(wsd(15, warmup=4, decay=5).lrs(15, 1e-2).tolist(), rel=1e-12)
    assert [(line["step"], line["cooldown"], line["cooldown_steps"]) for line in told(folder)] == [(10, "step 10", 5)]
    printed = capsys.readouterr().out
    assert "wsd: until told to cool down, at most 1000000000 steps" in printed
    assert "15" in next(line for line in printed.splitlines() if line.startswith("steps:"))
    assert (folder / "checkpoint-10/scheduler.pt").exists()
    assert (folder / "lr_and_loss.png").stat().st_size > 10_000
    assert (folder / "model.safetensors").exists()


def test_tokens_a_share_and_a_ceiling(local: tuple[str, ...], recipe_run: Run, tmp_path: Path) -> None:
    recipe_run(*local, "--cooldown_at", "320 tokens", "--warmup_steps", "2", "--output_dir", "tokens")  # 32 in a step
    assert [(line["step"], line["cooldown_steps"]) for line in told(tmp_path / "tokens")] == [(10, 2)]  # 20 % of 12
    recipe_run(*local, "--cooldown_steps", "3", "--max_steps", "9", "--warmup_steps", "2", "--output_dir", "ceiling")
    assert logged(tmp_path / "ceiling") == pytest.approx(wsd(9, warmup=2, decay=3).lrs(9, 1e-2).tolist(), rel=1e-12)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (("--cooldown_at", "10", "--lr_scheduler_type", "cosine"), "a run that ends on demand stays at its peak until then"),
        (("--finish_by", "soon"), "finish_by='soon' is not a time; write '18:00', '2026-11-24 06:00', '6h' or '90 min'"),
        (("--cooldown_at", "50%"), "at='50%' is a share of the run, whose length is not known; give steps or tokens"),
        (("--cooldown_steps", "many"), "steps='many' is not a length"),
        (("--patience", "0"), "patience=0 must be 1 evaluation or more"),
    ],
)
def test_what_cannot_end_a_run_is_refused(argv: tuple[str, ...], sentence: str, local: tuple[str, ...], stops: Stops) -> None:
    assert sentence in stops(*local, *argv)


@pytest.mark.parametrize("argv", [("--warmup_steps", "0.1"), ("--patience", "2", "--eval_strategy", "no")])
def test_what_only_the_callback_can_tell_is_refused_in_a_sentence_too(
    argv: tuple[str, ...], local: tuple[str, ...], stops: Stops, taken: list[int]
) -> None:
    assert stops(*local, "--cooldown_steps", "5", *argv)
    assert not taken


# Streams


def blocks(documents: int) -> int:
    """How many examples so many documents make."""
    return documents * (len(DOCUMENT) + 1) // BLOCK


@pytest.mark.parametrize(("cooldown", "held_back"), [("3", True), ("20%", False)])
def test_a_stream_without_max_steps_ends_where_it_ends(
    cooldown: str, held_back: bool, local: tuple[str, ...], recipe_run: Run, taken: list[int], tmp_path: Path
) -> None:
    recipe_run(*local, "--streaming", "--cooldown_steps", cooldown, "--warmup_steps", "2")
    folder = tmp_path / "runs/pretrain"
    [line] = told(folder)
    whole = blocks(100) // BATCH
    if held_back:
        assert (line["cooldown"], line["cooldown_steps"]) == ("the stream ends", 3)
        assert whole - 1 <= line["step"] + 3 <= whole  # the loader reads a batch ahead
    else:
        assert line["cooldown"] == "the stream has ended"
        assert whole <= line["step"] <= whole + 1  # the last batch may be a part of one
        assert line["cooldown_steps"] == round(line["step"] / 4)
    total = line["step"] + line["cooldown_steps"]
    assert len(taken) == total
    lrs = wsd(total, warmup=2, decay=line["cooldown_steps"]).lrs(total, 1e-2)
    assert logged(folder) == pytest.approx(lrs.tolist(), rel=1e-12)


# Resuming


def test_resuming_takes_the_newest_checkpoint_that_is_whole(
    local: tuple[str, ...], recipe_run: Run, stops: Stops, taken: list[int], tmp_path: Path
) -> None:
    short = (*local, "--max_steps", "12", "--save_steps", "4", "--output_dir", "run")
    whole = recipe_run(*short)
    folder = tmp_path / "run"
    end = (folder / "model.safetensors").read_bytes()
    (folder / "checkpoint-12/hf_lrsched_manifest.json").unlink()  # as if killed while it was written
    optimizer = folder / "checkpoint-12/optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:100])
    (folder / "checkpoint-16").mkdir()
    (folder / "checkpoint-16/model.safetensors").write_bytes(end[:50])
    (folder / "model.safetensors").unlink()
    assert any(isinstance(one, Checkpoints) for one in whole["trainer"].callback_handler.callbacks)
    run = recipe_run(*short, "--resume_from_checkpoint", "True")
    assert run["args"].resume_from_checkpoint == "run/checkpoint-8"
    assert len(taken) == 12 + 4
    assert (folder / "model.safetensors").read_bytes() == end
    for path in folder.glob("checkpoint-*/hf_lrsched_manifest.json"):
        path.unlink()
    assert "there is no complete checkpoint in run to resume from" in stops(*short, "--resume_from_checkpoint", "True")
    shutil.rmtree(folder)


def test_an_open_ended_run_resumes_in_its_decay(
    local: tuple[str, ...], recipe_run: Run, taken: list[int], tmp_path: Path
) -> None:
    argv = (*local, "--cooldown_at", "8", "--cooldown_steps", "6", "--warmup_steps", "2", "--output_dir", "run")
    recipe_run(*argv, "--save_steps", "5")
    end = (tmp_path / "run/model.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "run/checkpoint-14")
    recipe_run(*argv, "--save_steps", "5", "--resume_from_checkpoint", "True")
    assert len(taken) == 14 + 4  # from checkpoint-10 on
    assert (tmp_path / "run/model.safetensors").read_bytes() == end
    assert logged(tmp_path / "run") == pytest.approx(wsd(14, warmup=2, decay=6).lrs(14, 1e-2).tolist(), rel=1e-12)


def test_a_run_at_far_too_high_a_rate_is_rescued_and_says_so(
    recipe_run: Run, local: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hot = ("--learning_rate", "3", "--max_steps", "60", "--max_grad_norm", "0", "--output_dir", "out")
    recipe_run(*local, *hot, "--on_divergence", "rescue")
    record = json.loads((tmp_path / "out" / "rescues.json").read_text())["rescues"]
    assert record[0]["peaks"][0] < 3
    assert "rescue" in (tmp_path / "out" / "README.md").read_text()
    losses = [float(entry["loss"]) for entry in history(tmp_path / "out") if "loss" in entry]
    assert max(losses[-5:]) < 3  # it began at ln 257, which is 5.5
    printed = capsys.readouterr().out
    assert "rescue 1 of at most 3" in printed
    assert f"peak LR:       {record[-1]['peaks'][0]:g}\n" in printed


def test_an_action_that_there_is_none_of_is_refused_by_the_parser(
    recipe_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        recipe_run("pretrain.py", "--on_divergence", "pray")
    assert "rescue" in capsys.readouterr().err

"""One trunk with a cooldown branch for each budget, beside one cosine run for each budget.

    python scripts/branching_vs_cosine.py      about 40 minutes on one CPU core; goes on where it was stopped

The data are those of recipes/pretrain.py without arguments, the model is a Llama of 0.13 million parameters. Every way is
tuned for itself: each budget and each way takes its own best of the learning rates, by the mean held-out loss over the
seeds. Cosine runs to a tenth of the peak (`warmup_cosine`'s default) and, as another way, to zero. Writes
branching_vs_cosine.json beside this file: way -> learning rate -> seed -> budget -> held-out loss; and prints the table of
the README.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "recipes"))

import embedded  # noqa: E402  # the recipes are on the path only now
from transformers import Trainer, TrainingArguments, default_data_collator, set_seed  # noqa: E402  # the recipes are on the path only now

from hf_lrsched import BranchPlan  # noqa: E402  # the recipes are on the path only now
from hf_lrsched.training.checkpoints import write  # noqa: E402  # the recipes are on the path only now

RESULTS = HERE / "branching_vs_cosine.json"
RUNS = Path(tempfile.gettempdir()) / "hf_lrsched-branching"
BUDGETS = [160, 320, 480, 640, 800]
LRS = [1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2]  # an octave apart; the best of every way lies inside
SEEDS = [0, 1, 2]
WAYS: dict[str, dict[str, Any]] = {
    "branches": {},
    "cosine to 10 %": {"lr_scheduler_kwargs": {"warmup": 16, "min_lr_ratio": 0.1}},
    "cosine to 0": {"lr_scheduler_kwargs": {"warmup": 16, "min_lr_ratio": 0.0}},
}


def main() -> None:
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    texts = embedded.source()
    tokenizer = embedded.tokenizer(texts)
    train = embedded.blocks(embedded.tokens(texts.train, tokenizer))
    held_out = embedded.blocks(embedded.tokens(texts.held_out, tokenizer)[: 256 * embedded.BLOCK])
    plan = BranchPlan(BUDGETS)

    def arguments(lr: float, seed: int, folder: str, **words: Any) -> TrainingArguments:
        return TrainingArguments(
            output_dir=str(RUNS / folder),
            learning_rate=lr,
            seed=seed,
            weight_decay=0.1,
            adam_beta2=0.95,
            per_device_train_batch_size=8,
            per_device_eval_batch_size=32,
            save_strategy="no",
            logging_steps=100,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            **words,
        )

    def make_trainer(args: TrainingArguments) -> Trainer:
        set_seed(args.seed)
        return Trainer(
            model=embedded.llama(tokenizer, hidden_size=64, layers=2),
            args=args,
            train_dataset=train,
            eval_dataset=held_out,
            data_collator=default_data_collator,
        )

    def losses(way: str, lr: float, seed: int) -> dict[str, float]:
        if way == "branches":
            branches = plan.run(make_trainer, arguments(lr, seed, f"plan-{lr:g}-{seed}"))
            return {str(one.budget): round(one.loss or 0.0, 4) for one in branches}
        found = {}
        for budget in BUDGETS:
            words = {"max_steps": budget, "lr_scheduler_type": "warmup_cosine", **WAYS[way]}
            trainer = make_trainer(arguments(lr, seed, f"cosine-{lr:g}-{seed}", **words))
            trainer.train()
            found[str(budget)] = round(trainer.evaluate()["eval_loss"], 4)
        return found

    for seed in SEEDS:
        for lr in LRS:
            for way in WAYS:
                there = results.setdefault(way, {}).setdefault(f"{lr:g}", {})
                if str(seed) not in there:
                    there[str(seed)] = losses(way, lr, seed)
                    write(RESULTS, json.dumps(results, indent=1) + "\n")
                    print(f"seed {seed}, {lr:g}, {way}: {there[str(seed)]}", flush=True)
    show(results, plan)


def show(results: dict[str, Any], plan: BranchPlan) -> None:
    """The table: for each budget and way the mean over the seeds at its best LR, and how often branches win."""
    print(plan)
    print("| budget | " + " | ".join(f"{way} (LR)" for way in WAYS) + " |")
    print("|---:|" + "---:|" * len(WAYS))
    wins = dict.fromkeys(WAYS, 0)
    for budget in map(str, BUDGETS):
        cells, at_best = [], {}
        for way in WAYS:
            by_lr = {lr: [seeds[seed][budget] for seed in sorted(seeds)] for lr, seeds in results[way].items()}
            lr = min(by_lr, key=lambda one: statistics.mean(by_lr[one]))
            at_best[way] = by_lr[lr]
            cells.append(f"{statistics.mean(by_lr[lr]):.3f} ({float(lr):g})")
        for way in WAYS:
            wins[way] += sum(ours < theirs for ours, theirs in zip(at_best["branches"], at_best[way], strict=True))
        print(f"| {budget} | " + " | ".join(cells) + " |")
    pairs = len(BUDGETS) * len(SEEDS)
    for way in list(WAYS)[1:]:
        print(f"branches below {way}: {wins[way]} of {pairs}")


if __name__ == "__main__":
    main()

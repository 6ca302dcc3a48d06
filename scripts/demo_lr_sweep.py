"""The learning rates of the embedded recipes: each preset at several LRs, each a real run, best held-out loss wins.

    python scripts/demo_lr_sweep.py            about 20 minutes on two CPU cores; goes on where it was stopped

Writes scripts/demo_lr_sweep.json: recipe -> learning rate -> held-out loss at the end. Fine-tuning and LoRA start from the
pre-trained model of the best LR.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
RECIPES = HERE.parent / "recipes"
RESULTS = HERE / "demo_lr_sweep.json"
RUNS = Path(tempfile.gettempdir()) / "hf_lrsched-demo-sweep"

# preset -> (script, LRs half a decade or less apart, around what the preset had)
GRID = {
    "demo-pretrain": ("pretrain.py", [1.5e-3, 3e-3, 6e-3, 1.2e-2, 2.4e-2]),
    "demo-finetune": ("finetune.py", [5e-4, 1e-3, 2e-3, 4e-3, 8e-3]),
    "demo-lora": ("lora.py", [2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2]),
    "demo-image_classification": ("image_classification.py", [1e-3, 3e-3, 1e-2, 3e-2]),
    "demo-image_sgd": ("image_classification.py", [1e-2, 3e-2, 1e-1, 3e-1]),
}


def held_out_loss(preset: str, script: str, lr: float, start: list[str]) -> float:
    out = RUNS / f"{preset}-{lr:g}"
    if not (out / "trainer_state.json").exists():
        flags = [
            "--config",
            str(RECIPES / "presets" / f"{preset}.yaml"),
            "--learning_rate",
            f"{lr:g}",
            "--disable_tqdm",
            "True",
        ]
        subprocess.run([sys.executable, str(RECIPES / script), *flags, *start, "--output_dir", str(out)], check=True)
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    return [entry["eval_loss"] for entry in history if "eval_loss" in entry][-1]


def main() -> None:
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for preset, (script, lrs) in GRID.items():
        start = []
        if script in ("finetune.py", "lora.py"):
            best = min(results["demo-pretrain"], key=results["demo-pretrain"].get)
            start = ["--model_name_or_path", str(RUNS / f"demo-pretrain-{best}")]
        for lr in lrs:
            found = results.setdefault(preset, {})
            if f"{lr:g}" not in found:
                found[f"{lr:g}"] = round(held_out_loss(preset, script, lr, start), 4)
                RESULTS.write_text(json.dumps(results, indent=2) + "\n")
            print(f"{preset} {lr:g}: {found[f'{lr:g}']}", flush=True)


if __name__ == "__main__":
    main()

"""Where a Trainer reports to: TensorBoard, W&B, Trackio and the other trackers, each told in its own way.

Transformers' internals that it touches, each pinned by a contract test: a tracker is a callback, listed in
``INTEGRATION_TO_CALLBACK``, that sends what it gets in ``on_log``. Pictures and texts go to TensorBoardCallback's
``tb_writer``, WandbCallback's ``_wandb`` and TrackioCallback's ``_trackio``, the libraries' own objects; they are there from
``on_train_begin`` until ``on_train_end``.

Importing this module loads neither torch nor transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def is_over(logs: dict[str, Any]) -> bool:
    """Whether a log is the last one of a training, which Trainer sends before ``on_train_end``."""
    return "train_loss" in logs and "train_runtime" in logs and "loss" not in logs


def report(trainer: Any, scalars: dict[str, float]) -> None:
    """Sends `scalars` to every tracker that `trainer` reports to, in that tracker's own way; to nothing else."""
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    trackers: Any = tuple(INTEGRATION_TO_CALLBACK.values())
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, trackers):
            callback.on_log(trainer.args, trainer.state, trainer.control, logs=dict(scalars), model=trainer.model)


def report_figure(trainer: Any, name: str, figure: Any, file: Path) -> None:
    """Sends a picture to TensorBoard (as the matplotlib `figure`), to W&B and Trackio (as the `file`)."""
    step = trainer.state.global_step
    for callback in trainer.callback_handler.callbacks:
        kind = type(callback).__name__
        if kind == "TensorBoardCallback" and callback.tb_writer is not None:
            callback.tb_writer.add_figure(name, figure, step, close=False)
        elif kind == "WandbCallback" and getattr(callback, "_wandb", None) is not None:
            callback._wandb.log({name: callback._wandb.Image(str(file)), "train/global_step": step})
        elif kind == "TrackioCallback" and getattr(callback, "_trackio", None) is not None:
            callback._trackio.log({name: callback._trackio.Image(str(file)), "train/global_step": step})


def report_text(trainer: Any, title: str, text: str, *, attention: bool) -> None:
    """Sends a text to TensorBoard, as its text; to W&B and Trackio as an alert, a warning where it needs `attention`.

    A Trackio from before it had alerts gets it as a logged text.
    """
    step, level = trainer.state.global_step, "WARN" if attention else "INFO"
    for callback in trainer.callback_handler.callbacks:
        kind = type(callback).__name__
        if kind == "TensorBoardCallback" and callback.tb_writer is not None:
            callback.tb_writer.add_text(title, text, step)
            callback.tb_writer.flush()
        elif kind == "WandbCallback" and getattr(callback, "_wandb", None) is not None:
            callback._wandb.alert(title=title, text=text, level=level)
        elif kind == "TrackioCallback" and (library := getattr(callback, "_trackio", None)) is not None:
            if hasattr(library, "alert"):
                library.alert(title=title, text=text, level=getattr(library.AlertLevel, level))
            else:
                library.log({title: text, "train/global_step": step})

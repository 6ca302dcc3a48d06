"""Says what is wrong with a run while it goes on, and acts where it was told to: `LRWatch`.

The rules and what they are shown are those of `runs.diagnosis`: a run that is watched and its file, read afterwards, are told
the same things. They are asked on the first process, and what follows is decided there for all.

What it does not know: how the points are gathered (`points`), how a tracker is told (`trackers`), and how a run goes back
to a checkpoint (`rescue`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import PartialState
from transformers import TrainerControl, TrainerState, TrainingArguments

from ..runs.diagnosis import RULES, Diagnosis, Finding, Rule, Setting, points
from ..runs.files import HISTORY
from ..runs.history import Event, History
from ..runs.reading import read_history
from ..schedules.spec import from_spec
from . import trackers
from .checkpoints import Checkpoints, seal
from .points import Listener, Taken, head
from .recorder import LRRecorder
from .together import agreed, first_said

logger = logging.getLogger(__name__)

Action = Literal["stop", "checkpoint", "rescue"]
ACTIONS = ("stop", "checkpoint", "rescue")
PLAIN = "cannot rewind the loop that it is called from; call hf_lrsched.train(trainer) in place of trainer.train()"


class Diverged(BaseException):
    """Leaves a training that `hf_lrsched.train` goes back with; no user's ``except Exception`` is to hold it up."""


class LRWatch(Listener):
    """Tells each finding about a run once, as soon as it is found: by logging, to the trackers, and in what the run leaves.

    A finding is in the Trainer's ``state.log_history`` (so in ``trainer_state.json``), in the file of `LRRecorder` and in the
    section of `LRCard`, where those are in use, and at TensorBoard, W&B (as an alert) and Trackio. None of them is needed.

    Args:
        on_divergence: what is done when the run diverges: by a finding ``"explodes"`` that needs attention, or one that the
            loss is ``"slow"`` because the learning rate is too high (most such runs never show a NaN). By default nothing;
            ``"stop"`` ends the training; ``"checkpoint"`` saves at once, where the weights are still finite, and goes on;
            ``"rescue"`` goes back to a good checkpoint and on from there under a lower peak, for which the training must be
            started by `hf_lrsched.train`. No checkpoint is deleted or overwritten.
        every: steps after which the losses are fetched from the device and looked at.
        rescues: how often a run is rescued before it is stopped.
        rules: by default all of `runs.diagnosis.RULES`.

    >>> from transformers import Trainer
    >>> Trainer(..., callbacks=[LRRecorder(), LRWatch(on_divergence="stop")]).train()  # doctest: +SKIP

    Raises:
        ValueError: for an action that there is none of, an `every` below 1, `rescues` below 1; on the beginning of training,
            where what is to be done could not be.
    """

    def __init__(
        self,
        *,
        on_divergence: Action | None = None,
        every: int = 10,
        rescues: int = 3,
        rules: Sequence[type[Rule]] | None = None,
    ) -> None:
        super().__init__(every)
        if on_divergence is not None and on_divergence not in ACTIONS:
            raise ValueError(f"on_divergence={on_divergence!r} is no action; the actions are {', '.join(ACTIONS)}, and None")
        if rescues < 1:
            raise ValueError(f"rescues={rescues} must be 1 or more; for none give on_divergence='stop'")
        self.on_divergence, self.rescues = on_divergence, rescues
        self.rescuer: Callable[[Finding], str] | None = None  # plans one, or says why there can be none; from `rescue`
        self._rules = RULES if rules is None else tuple(rules)
        self._diagnosis: Diagnosis | None = None  # on the first process
        self._state: TrainerState = TrainerState()
        self._told: set[tuple[Any, Any, Any]] = set()
        self._found: list[Finding] = []  # and not yet told
        self._verdict: Finding | None = None
        self._cooldown: Any = None
        self._limit: int | None = None  # save_total_limit, while a checkpoint beside the usual ones is saved
        self._saves = 0  # the step of that checkpoint

    # The beginning

    def saw_trainer(self, trainer: Any) -> None:
        """The Trainer as it begins to train; goes ahead of the other callbacks, so that what is saved on demand stays."""
        super().saw_trainer(trainer)
        if self.on_divergence == "rescue" and self.rescuer is None:
            raise ValueError(f"LRWatch(on_divergence='rescue') {PLAIN}")
        callbacks = trainer.callback_handler.callbacks
        callbacks.insert(0, callbacks.pop(callbacks.index(self)))

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Takes up what the run has been so far, where `LRRecorder` has written it down.

        Raises:
            ValueError: where an action is wanted that could not be taken.
        """
        self._check(args)
        super().on_train_begin(args, state, control, **kwargs)
        self._state, self._verdict, self._diagnosis, self._found = state, None, None, []
        self._cooldown = getattr(kwargs["lr_scheduler"], "cooldown", None)
        if not state.is_world_process_zero:
            return
        log: list[dict[str, Any]] = state.log_history
        lines = [line["finding"] for line in log if "finding" in line]  # another version's may have other words
        self._told = {(line.get("symptom"), line.get("cause"), line.get("since")) for line in lines}
        known = head(args, state, kwargs["lr_scheduler"], kwargs["optimizer"], kwargs["model"])
        before = self._before(Path(str(args.output_dir)) / HISTORY) if state.global_step else None
        self._diagnosis = Diagnosis(_setting(known) if before is None else Setting.of(before), self._rules)
        if state.global_step:
            self._found = self._ask(lambda diagnosis: _replayed(diagnosis, before, state.global_step))

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The recorder and the trackers listen by now: tells what was found of the run before it was resumed."""
        self._tell(self._found)
        self._found = []

    def _check(self, args: TrainingArguments) -> None:
        if self._trainer is None:
            told = "LRWatch was not shown its Trainer, so it sees no loss; call hf_lrsched.register() before training"
            if self.on_divergence is not None:
                raise ValueError(told)
            logger.warning("%s", told)
        if self.on_divergence == "checkpoint" and args.save_strategy == "best":
            raise ValueError(
                "save_strategy='best' decides after every callback whether to save, so LRWatch(on_divergence='checkpoint') "
                "could not save; take 'steps', 'epoch' or 'no'"
            )

    def _before(self, file: Path) -> History | None:
        """What `LRRecorder` has written of the run before it was resumed; None where it was not in use."""
        if self._recorder() is None or not file.is_file():
            return None
        try:
            return read_history(file)
        except ValueError:  # nothing of it could be read
            return None

    def _recorder(self) -> LRRecorder | None:
        return next((one for one in self._listeners if isinstance(one, LRRecorder)), None)

    # Every step

    def took(self, points: list[Taken]) -> None:
        """Shows the next steps to the rules."""
        self._waiting = 0
        self._heard(self._ask(lambda diagnosis: [found for one in points for found in diagnosis.see(one.point)]))

    def _ask(self, question: Callable[[Diagnosis], list[Finding]]) -> list[Finding]:
        if self._diagnosis is None:
            return []
        try:
            return question(self._diagnosis)
        except Exception as error:  # whatever a rule does: a diagnosis is no reason to lose a run
            logger.warning("the run is not watched any more, as a rule failed: %s: %s", type(error).__name__, error)
            self._diagnosis = None
            return []

    def _heard(self, found: list[Finding]) -> None:
        """Tells what was found, and decides for all processes whether the run diverges; to be called on each."""
        self._tell(found)
        if self.on_divergence is not None:
            worst = next((one for one in found if _diverges(one)), None)
            told = agreed(lambda: None if worst is None else worst.to_dict())
            self._verdict = self._verdict or (None if told is None else Finding(**told))

    def _tell(self, found: Iterable[Finding]) -> None:
        for one in found:
            if _key(one) not in self._told:
                self._told.add(_key(one))
                logger.log(logging.WARNING if one.attention else logging.INFO, "step %d: %s", one.step, sentence(one))
                self._log({"step": one.step, "epoch": self._state.epoch, "finding": one.to_dict()})
                self._note(one.step, "finding", sentence(one), title=f"{one.symptom}: {one.cause}", attention=one.attention)

    def _log(self, line: dict[str, Any]) -> None:
        log: list[Any] = self._state.log_history
        log.append(line)

    def _note(self, step: int, kind: str, text: str, *, title: str, attention: bool) -> None:
        """Writes down in the recorder's file, and tells the trackers, what happened; on the first process."""
        recorder = self._recorder()
        if recorder is not None:
            recorder.note(step, kind, text)
        try:
            if self._trainer is not None:
                trackers.report_text(self._trainer, title, text, attention=attention)
        except Exception as error:  # whatever a tracker raises: a word to it is no reason to lose a run
            logger.warning("a tracker could not be told what was found: %s", error)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Tells the rules of a cooldown that was decided."""
        cooldown = getattr(kwargs["lr_scheduler"], "cooldown", None)
        if cooldown is not None and cooldown is not self._cooldown:
            self._cooldown = cooldown
            self._happened(Event(cooldown.first, "cooldown", f"{cooldown.reason}, {cooldown.steps} steps"))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """A step is done; where the run diverges, does what it was told to."""
        super().on_step_end(args, state, control, **kwargs)
        if self._verdict is not None:
            self._act(args, state, control, kwargs["model"])
        return control

    def _happened(self, event: Event) -> None:
        self.fetch()
        if self._diagnosis is not None:
            self._diagnosis.happened(event)

    # What else happens

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Shows the held-out loss to the rules."""
        self.fetch()
        loss = (kwargs.get("metrics") or {}).get("eval_loss")
        if loss is not None:
            held_out = float(f"{float(loss):.8g}")
            self._heard(self._ask(lambda diagnosis: diagnosis.evaluated(state.global_step, held_out)))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Tells the rules; one that was saved on demand is kept, and none had to go for it."""
        self._happened(Event(state.global_step, "checkpoint", f"checkpoint-{state.global_step}"))
        if self._saves and self._saves == state.global_step:
            self._saves, args.save_total_limit = 0, self._limit
            callbacks = self._trainer.callback_handler.callbacks
            PartialState().wait_for_everyone()
            if state.is_world_process_zero and any(isinstance(one, Checkpoints) for one in callbacks):
                seal(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}", kept=True)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """With the last log: what can only be said when the run is over, while the trackers still listen."""
        if trackers.is_over(kwargs.get("logs") or {}):
            self.fetch()
            self._tell(self._ask(Diagnosis.over))

    # Where it diverges

    def _act(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any) -> None:
        """What was decided, on all processes."""
        finding, self._verdict = self._verdict, None
        assert finding is not None  # asked for by the only one who calls this
        if self.on_divergence == "checkpoint":
            self._save(args, state, control, model)
            return
        why = ""
        if self.rescuer is not None:
            for one in self._listeners:
                one.flush()
            if not (why := self.rescuer(finding)):
                raise Diverged
        control.should_training_stop = True
        text = (
            f"training stops at step {state.global_step}, as the run diverges (since step {finding.since}: {finding.title})"
        )
        self.say(state, "stop", f"{text}; {why}" if why else text)

    def _save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any) -> None:
        name = f"checkpoint-{state.global_step}"
        taken = agreed(lambda: (Path(str(args.output_dir)) / name).exists())
        if first_said(None if finite(model) else "not finite"):
            self.say(state, "no checkpoint", "the run diverges, and is not saved, as its weights are not finite any more")
        elif taken:
            self.say(state, "no checkpoint", f"the run diverges, and is not saved, as there is a {name} already")
        else:
            self._saves, self._limit, args.save_total_limit = state.global_step, args.save_total_limit, None
            control.should_save = True
            self.say(state, "saved", f"the run diverges; its weights are finite, and are saved as {name}")

    def say(self, state: TrainerState, kind: str, text: str, *, aloud: bool = True) -> None:
        """Puts what was done into the Trainer's state; `aloud` also tells it wherever a finding is told."""
        if state.is_world_process_zero:
            self._log({"step": state.global_step, "epoch": state.epoch, "watch": text, "kind": kind})
            if aloud:
                logger.warning("%s", text)
                self._note(state.global_step, kind, text, title="LRWatch", attention=True)
                self._show(state, kind, text)

    def remember(self, state: TrainerState, kind: str, text: str) -> None:
        """Puts what was done before into the recorder's file, without a word."""
        if state.is_world_process_zero:
            if (recorder := self._recorder()) is not None:
                recorder.note(state.global_step, kind, text)
            self._show(state, kind, text)

    def _show(self, state: TrainerState, kind: str, text: str) -> None:
        if kind == "rescue" and self._diagnosis is not None:  # the recorder's file tells the rules of it as well
            self._diagnosis.happened(Event(state.global_step, kind, text))


def sentence(found: Finding) -> str:
    """A finding in words.

    >>> found = Finding("spike", "bad batch", step=9, since=8, title="the loss rose", evidence="2 to 9", advice="look at it")
    >>> sentence(found)
    'the loss rose since step 8 (spike, likely cause: bad batch, confidence medium). 2 to 9. Look at it.'
    """
    about = f"({found.symptom}, likely cause: {found.cause}, confidence {found.confidence})"
    parts = [text.strip().rstrip(".") for text in (found.evidence, found.advice)]
    said = [f"{found.title} since step {found.since} {about}", *(part[:1].upper() + part[1:] for part in parts)]
    return ". ".join(said) + "."


def finite(model: Any) -> bool:
    """Whether every weight that is trained is a number; waits for the device once."""
    found = [torch.isfinite(weight).all() for weight in model.parameters() if weight.requires_grad]
    return not found or bool(torch.stack([one.to(found[0].device) for one in found]).all())


def _key(found: Finding) -> tuple[str, str, int]:
    return found.symptom, found.cause, found.since


def _diverges(found: Finding) -> bool:
    too_high = found.symptom == "slow" and found.cause == "lr too high" and found.confidence != "low"
    return found.attention and (found.symptom == "explodes" or too_high)


def _setting(known: dict[str, Any]) -> Setting:
    """As of a recorder's file that begins so."""
    schedule = None if known["schedule"] is None else from_spec(known["schedule"])
    words: dict[str, Any] = {"groups": tuple(known["groups"]), "peak": tuple(known["peaks"]), "arguments": known["arguments"]}
    words |= {"facts": known.get("facts", {}), "total": known["total"]}
    return Setting.of(History.of([], schedule=schedule, source=HISTORY, **words))


def _replayed(diagnosis: Diagnosis, run: History | None, until: int) -> list[Finding]:
    """What is found in a run up to the step `until`, at which it is resumed."""
    moments: list[tuple[int, int, Callable[[], list[Finding] | None]]] = []
    if run is not None:
        moments += [(one.step, 0, lambda one=one: diagnosis.see(one)) for one in points(run)]  # type: ignore[misc]  # bound
        for step, loss in zip(run.eval_step.tolist(), run.eval_loss.tolist(), strict=True):
            moments.append((step, 1, lambda step=step, loss=loss: diagnosis.evaluated(step, loss)))  # type: ignore[misc]  # as above
        moments += [(one.step, 2, lambda one=one: diagnosis.happened(one)) for one in run.events]  # type: ignore[misc]  # as above
    found: list[Finding] = []
    for step, _, tell in sorted(moments, key=lambda moment: moment[:2]):
        if step <= until:
            found += tell() or []
    diagnosis.happened(Event(until, "resume"))
    return found

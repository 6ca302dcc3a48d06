"""What of a log the laws are fitted to, and which logs are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hf_lrsched import History, build, fall, hold, warmup_cosine, wsd
from hf_lrsched.runs.forecast.observed import observe, quantity_of

from .curves import PEAK, recorded, run


def test_the_rates_between_lines_are_a_straight_line_and_before_them_a_warmup() -> None:
    made = warmup_cosine(2000, warmup=200)
    seen = observe(run(made, every=20), "run", "eval_loss", warmup=None, skip=None)
    assert np.abs(seen.lrs - made.lrs(2000, PEAK)).max() < 0.02 * PEAK  # where it turns between two lines


def test_a_recorded_schedule_gives_every_rate() -> None:
    made = wsd(2000, shape="linear", decay=0.3)
    seen = observe(recorded(made, run(made, every=100)), "run", "eval_loss", warmup=None, skip=None)
    assert (seen.lrs == made.lrs(2000, PEAK)).all()


def test_a_schedule_that_the_rates_do_not_follow_is_not_believed() -> None:
    made, other = wsd(2000, shape="linear", decay=0.3), warmup_cosine(2000)
    seen = observe(recorded(other, run(made, every=20)), "run", "eval_loss", warmup=None, skip=None)
    assert np.abs(seen.lrs - made.lrs(2000, PEAK)).max() < 0.02 * PEAK


def test_training_losses_lie_before_the_step_of_their_line() -> None:
    history = replace(run(wsd(2000), every=50, evaluated=False), averaged=50)
    seen = observe(history, "run", "loss", warmup=None, skip=0)
    assert seen.updates[0] == 50 - 25.5
    assert observe(run(wsd(2000), every=50), "run", "eval_loss", warmup=None, skip=0).updates[0] == 50


@pytest.mark.parametrize(
    ("steps", "warmup", "first"),
    [(2000, 100, 500), (4000, 100, 1000), (10_000, 500, 1000), (40_000, 500, 2000), (10_000, 2000, 2000), (2000, 800, 500)],
)
def test_the_first_steps_are_left_out(steps: int, warmup: int, first: int) -> None:
    """A thousand, a quarter of a short run, a twentieth of a long one; the warm-up where it is longer."""
    lrs = wsd(steps, warmup=warmup).lrs(steps, PEAK)
    at = np.arange(20, steps + 1, 20)
    losses = 3 + np.exp(-at / steps)
    history = History.of([{"step": int(n), "lr": lrs[n - 1], "eval_loss": loss} for n, loss in zip(at, losses, strict=True)])
    seen = observe(history, "r", "eval_loss", warmup=None, skip=None)
    assert seen.updates[0] == pytest.approx(first, abs=0.02 * steps)
    assert observe(history, "r", "eval_loss", warmup=None, skip=0).updates[0] < 0.02 * steps


def test_a_log_that_begins_behind_the_warmup() -> None:
    whole = run(wsd(2000, warmup=100))
    for first, given in ((200, None), (1000, 100.0)):
        kept = whole.eval_step >= first
        late = replace(
            whole, eval_step=whole.eval_step[kept], eval_loss=whole.eval_loss[kept], step=whole.step[kept], lr=whole.lr[kept]
        )
        seen = observe(late, "late", "eval_loss", warmup=given, skip=None)
        assert seen.lrs[50] == pytest.approx(PEAK * (0.25 if given is None else 0.5), rel=0.02)
    with pytest.raises(ValueError, match=r"the log of late begins at step 1000 of 2000, .*give its steps of warm-up"):
        observe(late, "late", "eval_loss", warmup=None, skip=None)


def test_held_out_losses_count_where_every_run_has_enough() -> None:
    evaluated, trained = run(wsd(1000)), run(wsd(1000), evaluated=False)
    assert quantity_of([evaluated], "auto", None) == "eval_loss"
    assert quantity_of([evaluated, trained], "auto", None) == "loss"
    assert quantity_of([evaluated], "loss", None) == "loss"
    assert quantity_of([run(wsd(1000), every=200)], "auto", None) == "loss"
    with pytest.raises(ValueError, match="loss='train' must be 'auto'"):
        quantity_of([evaluated], "train", None)


def lines(losses: list[float], lr: float | None = 1e-3) -> History:
    return History.of(
        [{"step": i, "eval_loss": loss, **({} if lr is None else {"lr": lr})} for i, loss in enumerate(losses, start=1)]
    )


@pytest.mark.parametrize(
    ("history", "said"),
    [
        (lines([3.0, 2.0, 1.0]), "has 3 of its held-out losses from step 1 on, and a law needs 8"),
        (lines(list(np.linspace(3, 1, 20)), lr=None), "has no learning rates"),
        (lines(list(np.linspace(3, 1, 20)), lr=0.0), "learning rates that are not above 0"),
        (lines(list(np.linspace(1, -1, 20))), "has a loss of -1"),
        (lines(list(np.linspace(1, 3, 20))), "rose from 1.47.* to 2.9"),
    ],
    ids=["few", "no rates", "zero rates", "below 0", "rising"],
)
def test_what_no_law_can_be_fitted_to_is_refused_by_name(history: History, said: str) -> None:
    with pytest.raises(ValueError, match=f"the run .*{said}|the held-out losses of the run {said}"):
        observe(history, "the run", "eval_loss", warmup=None, skip=None)


def test_a_training_loss_that_is_not_finite_is_a_run_that_diverged() -> None:
    losses = [*np.linspace(3, 2, 50), float("nan"), 2.0]
    history = History.of([{"step": i, "loss": loss, "lr": 1e-3} for i, loss in enumerate(losses, start=1)])
    with pytest.raises(ValueError, match="run: 1 of 40 training losses are not finite"):
        observe(history, "run", "loss", warmup=None, skip=None)


def test_many_losses_are_put_together() -> None:
    seen = observe(run(build("wsd", 3000), every=1, evaluated=False), "run", "loss", warmup=None, skip=None)
    assert len(seen.loss) == 80
    assert seen.horizon == 3001
    assert (np.diff(seen.updates) > 0).all()


def test_a_held_out_loss_that_is_not_finite_is_a_run_that_diverged() -> None:
    history = run(wsd(2000))
    history.eval_loss[-3:] = np.nan, np.inf, np.nan
    with pytest.raises(ValueError, match="run: 3 of 76 held-out losses are not finite"):
        observe(history, "run", "eval_loss", warmup=None, skip=None)


def test_a_loss_that_ends_far_above_its_lowest_is_refused_and_a_restart_is_not() -> None:
    rising = run(wsd(2000))
    rising.eval_loss[-20:] *= np.linspace(1, 1.2, 20)
    with pytest.raises(ValueError, match=r"rose from .* and no law knows a run that diverged or overfitted"):
        observe(rising, "run", "eval_loss", warmup=None, skip=None)
    again = hold(1000) >> fall(500) >> hold(500)
    assert observe(run(again), "run", "eval_loss", warmup=None, skip=None).peak == PEAK


@pytest.mark.parametrize("skip", [-1, "5%", float("nan")])
def test_what_is_left_out_is_a_number_of_updates(skip: float) -> None:
    with pytest.raises(ValueError, match="skip="):
        observe(run(wsd(2000)), "run", "eval_loss", warmup=None, skip=skip)


@pytest.mark.parametrize("every", [5, 20, 100])
def test_a_warmup_is_made_out_from_a_few_lines(every: int) -> None:
    made = wsd(2000, warmup=150)
    seen = observe(run(made, every=every), "run", "eval_loss", warmup=None, skip=None)
    assert seen.warmup == pytest.approx(150, abs=3)
    assert np.abs(seen.lrs - made.lrs(2000, PEAK))[:1600].max() < 0.02 * PEAK
    assert seen.peak == PEAK


def test_the_rates_of_the_next_step_are_those_of_a_schedule_too() -> None:
    made = wsd(2000, decay=0.4)
    history = run(made, every=100)
    history.lr[:, 0] = made.lrs(history.step.astype(float), PEAK)  # what older releases log
    seen = observe(recorded(made, history), "run", "eval_loss", warmup=50, skip=None)
    assert (seen.lrs == made.lrs(2000, PEAK)).all()


def test_a_group_that_is_not_trained_is_passed_over() -> None:
    history = run(wsd(2000))
    frozen = replace(history, lr=np.stack([np.zeros(len(history)), history.lr[:, 0]], axis=1))
    assert observe(frozen, "run", "eval_loss", warmup=None, skip=None).peak == PEAK

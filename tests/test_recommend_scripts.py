"""What recommend is scored with: regrets read by hand, formulas that are found again, shipped values without their source."""

from __future__ import annotations

import csv
import importlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hf_lrsched.advice.formula import evaluate
from hf_lrsched.advice.sources import evidence

SCRIPTS = Path(__file__).parents[1] / "scripts"
DATA = Path(__file__).parents[2] / "shared" / "data"
published_sweep = pytest.mark.skipif(not (DATA / "lora_sweep.csv").is_file(), reason="the public LoRA sweep is not here")
LRS = (4e-5, 1e-4, 3e-4, 1e-3, 3e-3)


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


def script(name: str) -> Any:
    return importlib.import_module(name)


def written(folder: Path, rows: Sequence[tuple[str, int, float, float | None]]) -> Path:
    """A sweep's file: model, rank, learning rate, loss; None where it diverged."""
    with (folder / "lora_sweep.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["model", "rank", "lr", "test_nll", "diverged", "repeat"])
        table.writerows(
            [model, rank, lr, "" if loss is None else loss, int(loss is None), 1] for model, rank, lr, loss in rows
        )
    return folder


def made_up(folder: Path, best: Callable[[float, int], float]) -> Any:
    """A sweep of valleys, as wide everywhere, around the best learning rate that `best` gives for a size and a rank."""
    names = {"Llama": "meta-llama/Llama-{}B", "Qwen": "Qwen/Qwen-{}B", "gpt-oss": "openai/gpt-oss-{}b"}
    names |= {"Nemotron": "nvidia/Nemotron-{}B", "Kimi": "moonshotai/Kimi-{}B", "DeepSeek": "deepseek-ai/DeepSeek-{}B"}
    grid = [10 ** (-4.5 + step / 8) for step in range(16)]
    rows = [
        (name.format(size), rank, lr, 1 + 0.01 * math.log(lr / best(size * 1e9, rank)) ** 2)
        for name in names.values()
        for size in (1, 2, 4, 7, 13, 70)
        for rank in (4, 16, 64)
        for lr in grid
    ]
    return script("recommend_sweep").Sweep(script("recommend_sweep").read_sweep(written(folder, rows)))


@pytest.fixture
def sweep(tmp_path: Path) -> Any:
    """Three cells: whole, with a diverged run, and with an end that nobody went beyond."""
    losses: dict[tuple[str, int], Sequence[float | None]] = {
        ("meta-llama/Llama-3.2-1B", 4): (1.04, 1.02, 1.0, 1.01, 1.05),
        ("Qwen/Qwen3-8B", 16): (1.02, 1.0, 1.03, None, None),
        ("moonshotai/Kimi-K2.5", 1): (1.01, 1.0),
    }
    rows = [(*cell, lr, loss) for cell, some in losses.items() for lr, loss in zip(LRS, some, strict=False)]
    rows += [("Qwen/Qwen3-8B", 16, 4e-5, 1.04)]  # the same setting twice: 1.03 on average
    made = script("recommend_sweep")
    return made.Sweep(made.read_sweep(written(tmp_path, rows)))


def test_a_cell_is_read(sweep: Any) -> None:
    llama, qwen, kimi = sweep.cells
    assert [cell.family for cell in sweep.cells] == ["Llama", "Qwen", "Kimi"]
    assert [cell.parameters for cell in sweep.cells] == [1e9, 8e9, 1e12]  # the last is in no name
    assert qwen.regrets == pytest.approx([0.03, 0, 0.03])
    assert qwen.diverged == pytest.approx(math.log(1e-3))
    assert llama.diverged == kimi.diverged == math.inf


@pytest.mark.parametrize(
    ("lr", "regrets"),
    [
        (1e-4, (0.02, 0, 0)),
        (math.sqrt(1e-4 * 3e-4), (0.01, 0.015, None)),  # half way in the logarithm is half way in the loss
        (3e-4, (0, 0.03, None)),
    ],
)
def test_a_regret_lies_on_the_line_between_its_neighbours(sweep: Any, lr: float, regrets: tuple[float | None, ...]) -> None:
    for found, expected in zip(sweep.regrets([lr] * 3), regrets, strict=True):
        assert expected is None or found == pytest.approx(expected, abs=2e-4)  # the table's steps


def test_a_smooth_regret_keeps_to_its_neighbours(sweep: Any) -> None:
    for lr in LRS[:3]:
        assert sweep.regrets([lr] * 3, smooth=True)[:2] == pytest.approx(sweep.regrets([lr] * 3)[:2], abs=2e-4)
    between = sweep.regrets([2e-4] * 3, smooth=True)
    assert 0 < between[0] < sweep.regrets([2e-4] * 3)[0]  # flat at the lowest point


def test_nothing_is_gained_where_nobody_was(sweep: Any) -> None:
    near, far = sweep.regrets([4e-4] * 3), sweep.regrets([8e-4] * 3)
    assert (far[1:] > near[1:]).all()
    steepest = 0.03 / math.log(3)  # from 1e-4 to 3e-4, of the second
    assert far[1] - near[1] == pytest.approx(steepest * math.log(2), rel=0.02)  # towards a diverged run
    assert sweep.regrets([3e-5] * 3)[2] > 0.01


@pytest.mark.parametrize(("lr", "at_risk", "diverges"), [(3e-4, False, False), (4e-4, True, False), (1e-3, True, True)])
def test_divergence_is_counted_apart(sweep: Any, lr: float, at_risk: bool, diverges: bool) -> None:
    llama, qwen, kimi = sweep.cells
    assert qwen.at_risk(lr) is at_risk
    assert qwen.diverges(lr) is diverges
    assert not any(cell.at_risk(lr) or cell.diverges(lr) for cell in (llama, kimi))


@pytest.mark.parametrize(
    ("model", "lr"),
    [
        ("meta-llama/Llama-3.2-1B", 4.9e-4),  # the survey's figures, its section 3.2
        ("meta-llama/Llama-3.1-70B", 1.7e-4),
        ("Qwen/Qwen3-8B", 4.7e-4),
        ("openai/gpt-oss-20b", None),
    ],
)
def test_the_published_formula(model: str, lr: float | None) -> None:
    sweep = script("recommend_sweep")
    cell = sweep.Cell(model, sweep.family_of(model), 1e9, 16, np.zeros(1), np.zeros(1), math.inf)
    assert sweep.published(cell) == (None if lr is None else pytest.approx(lr, rel=0.03))


def test_every_formula_reads_as_it_computes() -> None:
    forms = script("recommend_forms")
    for form in forms.FORMS.values():
        for formula in form.formulas()[:: max(len(form.formulas()) // 50, 1)]:
            for parameters, rank in ((1e9, 1), (8e9, 16), (7e10, 128)):
                said = evaluate(str(formula), {"parameters": parameters, "rank": rank})
                assert said == pytest.approx(formula(parameters, rank), rel=0.06)  # it is told with two or three digits


def test_what_made_the_valleys_is_found_again(tmp_path: Path) -> None:
    forms = script("recommend_forms")
    true = forms.Formula(2.4e-4, 8e9, 0.5, 0.0)
    fitting = forms.Fitting(made_up(tmp_path, true))
    for found in (fitting.fit(), *fitting.left_out().values()):
        assert found.level == pytest.approx(true.level, rel=0.05)  # the cubics' own lowest points are grid points
        assert found.knee == pytest.approx(true.knee, rel=0.15)
    assert set(fitting.chosen_blindly().values()) <= {forms.USED, "bent"}  # the second holds the first
    assert str(true) == "min(1.0e-03, 2.4e-04 * sqrt(max(1, 8.00e+09 / parameters)))"


def test_the_rank_counts_within_a_model(tmp_path: Path) -> None:
    forms = script("recommend_forms")
    made = made_up(tmp_path, lambda parameters, rank: 2e-4 * (1e10 / parameters) ** 0.2 * (rank / 16) ** 0.2)
    assert forms.rank_exponent(made.cells) == pytest.approx(0.2, abs=0.005)


@pytest.mark.parametrize("factor", [1.2, 2.0])
def test_the_scatter_about_advice(tmp_path: Path, factor: float) -> None:
    sweep = script("recommend_sweep")
    away = iter([factor, 1 / factor] * 54)
    cells = made_up(tmp_path, lambda parameters, rank: 2e-4).cells
    assert sweep.scatter(cells, [2e-4 * next(away) for _ in cells]) == pytest.approx(factor, rel=0.01)


def test_a_best_at_the_end_of_a_grid_is_a_bound(sweep: Any) -> None:
    llama, qwen, kimi = (script("recommend_sweep").best_of(cell) for cell in sweep.cells)
    assert llama[0] == llama[1]
    assert 1e-4 < math.exp(llama[0]) < 1e-3
    assert qwen[0] == qwen[1]
    assert kimi == (pytest.approx(math.log(math.sqrt(4e-5 * 1e-4))), math.inf)


def test_a_gain_that_one_family_makes_is_not_sure() -> None:
    bootstrap = script("recommend_sweep").bootstrap
    families = ["a"] * 4 + ["b"] * 4
    assert bootstrap(np.full(8, 0.1), families) == {"mean": 0.1, "low": 0.1, "high": 0.1, "better": 1.0}
    one = bootstrap(np.array([0.4] * 4 + [-0.1] * 4), families)
    assert one["mean"] == pytest.approx(0.15)
    assert one["better"] == pytest.approx(0.75, abs=0.02)  # unless both draws are the other


def test_a_shipped_value_is_asked_for_as_it_says() -> None:
    question = script("recommend_shipped").question_of(evidence()["zephyr-7b-sft-qlora"])
    assert (question.task, question.peft, question.model.parameters, question.r) == ("sft", "qlora", 7e9, 16)


def test_no_shipped_value_is_judged_by_its_own_source() -> None:
    values = script("recommend_shipped").shipped()
    assert len(values) > 300
    for one in values:
        assert one.entry.source.key not in {used.evidence.source.key for used in one.found.used}


def value(lr: float, size: float, files: int = 1, band: tuple[float, float] | None = (1e-5, 4e-5)) -> Any:
    """A shipped value and the band that is advised."""
    made = script("recommend_shipped")
    low, high = band or (None, None)
    question = SimpleNamespace(task="sft", peft=None, model=SimpleNamespace(parameters=size))
    return made.Shipped(SimpleNamespace(files=files), lr, SimpleNamespace(low=low, high=high, question=question))


@pytest.mark.parametrize(("lr", "inside"), [(1e-5, True), (4e-5, True), (9.9e-6, False), (4.1e-5, False)])
def test_both_ends_are_inside(lr: float, inside: bool) -> None:
    assert value(lr, 7e9).inside is inside


def test_no_answer_is_outside() -> None:
    assert not value(2e-5, 7e9, band=None).inside


def test_shipped_values_are_counted() -> None:
    values = [value(2e-5, 7e9, files=6), value(2e-4, 7e9), value(5e-5, 7e9), value(1e-3, 1e8, band=None)]
    found = script("recommend_shipped").counted(values)
    assert found["inside"] == 0.25
    assert found["files inside"] == pytest.approx(6 / 9)
    assert found["no answer"] == 1
    assert found["widest"] == pytest.approx(4)
    assert found["ceiling"] == 0.75  # one band for 2e-5 and 5e-5, or 5e-5 and 2e-4; one for the small model
    assert found["ceiling by files"] == pytest.approx(8 / 9)


def test_the_recorded_alphas_give_the_exponent() -> None:
    alpha = script("recommend_alpha")
    decades = alpha.bests()
    assert decades == sorted(decades, reverse=True)
    assert evidence()["lora-alpha"].value == pytest.approx(alpha.exponent(decades), abs=0.005)
    for decade in decades:
        assert f"{10**decade:.1e}".replace("e-0", "e-") in evidence()["lora-alpha"].note


def test_the_best_lies_in_a_parabola_through_all_seeds() -> None:
    losses: dict[str, dict[str, float | None]] = {
        f"{at:g}": {str(seed): 2 + (at + 1.9) ** 2 + seed / 100 for seed in range(3)} for at in (-2.5, -2.25, -2, -1.75, -1.5)
    }
    losses["-1"] = {"0": 0.0}  # one seed alone
    losses["-1.25"] = {"0": 0.0, "1": 0.0, "2": None}
    assert script("recommend_alpha").best(losses) == pytest.approx(-1.9)


@published_sweep
def test_the_evidence_is_what_the_sweep_gives() -> None:
    found = script("bench_recommend").fitted(DATA)
    assert evidence()["lora-sweep"].formula == found["formula"]
    assert evidence()["lora-sweep"].spread == pytest.approx(found["spread"])
    assert evidence()["lora-sweep-rank"].value == pytest.approx(found["rank exponent"])


@published_sweep
def test_the_published_regrets_are_read_from_the_sweep() -> None:
    made = script("recommend_sweep")
    sweep = made.Sweep(made.read_sweep(DATA))
    for name, lr in (("lora-sweep-at-1e-4", 1e-4), ("lora-sweep-at-3e-4", 3e-4)):
        there = [np.abs(cell.lrs - math.log(lr)).min() < 1e-9 for cell in sweep.cells]
        assert sweep.regrets([lr] * len(there))[there].mean() == pytest.approx(evidence()[name].value, abs=5e-5)


@published_sweep
def test_a_family_left_out_costs_less_than_the_best_constant() -> None:
    found = script("bench_recommend").sweep_score(DATA)
    ours, best = found["methods"]["recommend, family left out"], found["methods"]["always 0.0003"]
    for reading in ("straight", "smooth"):
        assert ours[reading] < best[reading] < found["methods"]["always 0.0002"][reading]
    assert ours["diverged"] == 0
    assert ours["at risk"] <= best["at risk"]

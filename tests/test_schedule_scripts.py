"""The benchmark of schedules: which run comes next, what a tie is, and that the evidence says what was measured."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from hf_lrsched.advice.sources import evidence
from hf_lrsched.schedules.catalogue import CATALOGUE

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


def script(name: str = "schedules_table") -> Any:
    return importlib.import_module(name)


def valley(best: float, floor: float = 3.0, seeds: tuple[float, ...] = (0.0, 0.1, -0.1)) -> Any:
    """The loss at an octave with a seed: a parabola in the octave, moved up or down by the seed."""
    return lambda octave, seed: floor + 0.1 * (octave - best) ** 2 + seeds[seed]


def searched(loss: Any, start: int, most: int = 60) -> dict[int, dict[int, float]]:
    """What the search has trained when it stops."""
    found: dict[int, dict[int, float]] = {}
    for _ in range(most):
        run = script("bench_schedules").wanted(found, start)
        if run is None:
            return found
        octave, seed = run
        assert seed not in found.get(octave, {}), f"{run} is trained twice"
        found.setdefault(octave, {})[seed] = loss(octave, seed)
    raise AssertionError(f"the search has not stopped after {most} runs")


@pytest.mark.parametrize("start", [-3, 2, 6])
def test_the_search_ends_at_the_best_octave_with_all_seeds_on_both_sides(start: int) -> None:
    found = searched(valley(2.2), start)
    assert {octave for octave, seeds in found.items() if len(seeds) == 3} >= {1, 2, 3}
    best = script().best_of(found)
    assert (best.octave, best.edge) == (2, False)


def test_the_search_spends_nine_runs_where_it_begins_at_the_best() -> None:
    assert sum(len(seeds) for seeds in searched(valley(2.2), 2).values()) == 9


def test_the_search_follows_the_mean_where_the_first_seed_misleads() -> None:
    found = searched(lambda octave, seed: valley(2.0 if seed == 0 else 4.4)(octave, seed), 2)
    best = script().best_of(found)
    assert (best.octave, best.edge) == (4, False)


def test_the_search_walks_down_from_rates_that_diverge() -> None:
    found = searched(lambda octave, seed: math.inf if octave > 3 else valley(3)(octave, seed), 7)
    best = script().best_of(found)
    assert (best.octave, best.edge, best.diverged[0]) == (3, False, 4)
    assert (best.lowest, best.slack) == (3, 0.0)  # no parabola goes through a run that diverged


def test_a_search_that_falls_to_the_last_octave_stops_there_and_says_so() -> None:
    found = searched(lambda octave, seed: 5.0 - 0.1 * octave, 2)
    best = script().best_of(found)
    assert (best.octave, best.edge) == (script("bench_schedules").LIMITS[1], True)


def test_one_seed_that_diverges_makes_the_octave_a_diverged_one() -> None:
    found = searched(lambda octave, seed: math.inf if (octave, seed) == (2, 1) else valley(2.2)(octave, seed), 2)
    best = script().best_of(found)
    assert best.octave != 2
    assert 2 in best.diverged


def test_a_run_that_ends_no_lower_than_it_began_has_diverged() -> None:
    learned = script().learned
    assert learned(3.0, 6.2) == 3.0
    assert learned(6.2, 6.2) == learned(None, 6.2) == learned(math.nan, 6.2) == math.inf


def test_a_parabola_says_where_between_the_octaves_the_best_lies() -> None:
    best = script().best_of(searched(valley(2.25, seeds=(0.0, 0.0, 0.0)), 2))
    assert best.lowest == pytest.approx(2.25)
    assert best.slack == pytest.approx(0.1 * 0.25**2)
    assert best.lr == pytest.approx(1e-3 * 2**2.25)


def test_nothing_is_said_of_a_schedule_that_never_learns_with_all_seeds() -> None:
    best_of = script().best_of
    assert best_of({}) is None
    assert best_of({0: {0: 3.0}}) is None
    assert best_of({0: {0: math.inf, 1: 2.0, 2: 2.0}}) is None


def rows(**ends: tuple[float, float, float]) -> dict[str, Any]:
    """Schedules that end so at octave 0, by seed, with worse neighbours on both sides."""
    runs = {
        name: {octave: {seed: loss + abs(octave) for seed, loss in enumerate(losses)} for octave in (-1, 0, 1)}
        for name, losses in ends.items()
    }
    return {row.schedule: row for row in script().compare(runs)}


def test_a_difference_that_all_seeds_share_is_none_of_chance() -> None:
    found = rows(wsd=(3.0, 3.4, 2.6), rex=(3.05, 3.46, 2.64), power=(3.0, 3.4, 2.61))
    assert list(found) == ["wsd", "power", "rex"]
    assert found["rex"].regret == pytest.approx(0.05)
    assert [found[name].tied for name in ("wsd", "power", "rex")] == [True, True, False]


def test_a_difference_inside_its_own_spread_is_a_tie() -> None:
    found = rows(wsd=(3.0, 3.0, 3.0), rex=(3.3, 2.9, 3.1), power=(4.0, 4.0, 4.0), linear=(5.0, 5.0, 5.0))
    assert found["rex"].regret == pytest.approx(0.1)
    assert found["rex"].spread == pytest.approx(0.2)
    assert found["rex"].tied


def test_seeds_that_agree_by_chance_do_not_make_the_spread_small() -> None:
    ends = {f"noisy_{i}": (3.5 + noise, 3.5 - noise, 3.5) for i, noise in enumerate((0.3, -0.2, 0.25))}
    found = rows(wsd=(3.0, 3.0, 3.0), rex=(3.01, 3.01, 3.01), **ends)
    assert found["rex"].spread == pytest.approx(script().usual_spread([row.best.losses for row in found.values()]))
    assert found["rex"].tied


def test_the_usual_spread_is_that_of_a_difference_of_two() -> None:
    usual = script().usual_spread
    assert usual([(3.0, 3.2, 3.4), (2.0, 2.2, 2.4)]) == pytest.approx(0.0)
    assert usual([(1.0, -1.0), (-1.0, 1.0)]) == pytest.approx(math.sqrt(8))  # the differences are 2 and -2
    assert usual([(1.0, 2.0, 3.0)]) == 0.0


def test_a_difference_that_a_finer_grid_could_undo_is_a_tie() -> None:
    runs = {
        "wsd": searched(valley(2.0, 3.0), 2),
        "rex": searched(valley(2.4, 3.0), 2),  # 0.016 of its loss are the octaves' fault
        "power": searched(valley(2.0, 3.016), 2),
    }
    found = {row.schedule: row for row in script().compare(runs)}
    assert found["rex"].regret == pytest.approx(found["power"].regret)
    assert found["rex"].tied
    assert not found["power"].tied


def test_what_the_reference_s_rate_costs_another_schedule() -> None:
    runs = {"warmup_cosine": searched(valley(3.0), 3), "wsd": searched(valley(2.0, 2.9), 2), "rex": searched(valley(7.0), 7)}
    found = {row.schedule: row for row in script().compare(runs)}
    assert found["wsd"].shared == pytest.approx(0.1)
    assert found["warmup_cosine"].shared == 0.0
    assert found["rex"].shared is None


# Resuming


def test_a_last_line_that_was_cut_off_is_trained_again(tmp_path: Path) -> None:
    results = script("bench_schedules").Results
    kept = results.of(tmp_path)
    kept.add({"task": "lora", "seed": 0, "steps": 0, "before": 3.3})
    line = {
        "task": "lora",
        "schedule": "wsd",
        "octave": 3,
        "seed": 0,
        "steps": script("bench_schedules").PLACES["lora"].steps,
    }
    kept.add({**line, "loss": 2.9})
    whole = kept.file.read_text()
    kept.file.write_text(whole + json.dumps({**line, "octave": 4, "loss": 2.8})[:-20])
    again = results.of(tmp_path)
    assert kept.file.read_text() == whole
    assert again.losses("lora", "wsd") == {3: {0: 2.9}}
    again.add({**line, "octave": 4, "loss": None})
    assert results.of(tmp_path).losses("lora", "wsd") == {3: {0: 2.9}, 4: {0: math.inf}}


def test_runs_of_another_length_are_not_taken_for_these(tmp_path: Path) -> None:
    kept = script("bench_schedules").Results.of(tmp_path)
    kept.add({"task": "lora", "seed": 0, "steps": 0, "before": 3.3})
    kept.add({"task": "lora", "schedule": "wsd", "octave": 3, "seed": 0, "steps": 7, "loss": 2.9})
    assert kept.losses("lora", "wsd") == {}


def test_what_is_packed_reads_as_what_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, table = script("bench_schedules"), script()
    for module in (bench, table):
        monkeypatch.setattr(module, "PACKED", tmp_path / "packed.json")
    kept, steps = bench.Results.of(tmp_path), bench.PLACES["cnn"].steps
    for seed in bench.SEEDS:
        kept.add({"task": "cnn", "seed": seed, "steps": 0, "before": 2.3})
        for octave, loss in ((1, 0.6), (2, 0.5), (3, None)):
            line = {"task": "cnn", "schedule": "rex", "octave": octave, "seed": seed, "steps": steps, "loss": loss}
            kept.add({**line, "accuracy": 0.8, "seconds": 4.0})
    bench.pack(tmp_path)
    assert table.runs_of(table.tasks()["cnn"]) == {"rex": kept.losses("cnn", "rex")}
    assert "| rex | 0.004 | 0.5000 | 0.0000 | 0.0000 | tie | not run | 80.0% |" in table.table("cnn", table.tasks()["cnn"])


# What was measured


def test_every_schedule_of_the_catalogue_that_has_defaults_is_run() -> None:
    bench = script("bench_schedules")
    assert set(bench.SCHEDULES) == {*CATALOGUE, "linear", "cosine"} - {"phases"}


def test_the_measured_evidence_is_what_the_kept_runs_say() -> None:
    bench, written = script("bench_schedules"), script("schedules_evidence")
    text = written.FILE.read_text("utf-8")
    conditions = {name: place.when | {"steps": place.steps} for name, place in bench.PLACES.items()}
    assert text.partition(written.MARK)[2].splitlines() == [f"  - {line}" for line in written.entries(conditions)]
    assert all(isinstance(yaml.safe_load(line), dict) for line in written.entries(conditions))


def test_every_task_s_best_is_named_with_its_regret_and_its_spread() -> None:
    table, found = script(), evidence()
    for name, task in table.tasks().items():
        for row in table.compare(table.runs_of(task)):
            entry = found[f"schedules-{name}-{row.schedule}"]
            assert entry.of == "regret"
            assert entry.value == pytest.approx(row.regret, abs=1e-4)
            assert (row.schedule in found[f"schedules-{name}"].text.split(", ")) == row.tied


def test_every_schedule_was_run_at_its_own_best_rate_on_every_task() -> None:
    bench, table = script("bench_schedules"), script()
    found = {name: {row.schedule for row in table.compare(table.runs_of(task))} for name, task in table.tasks().items()}
    assert found == {name: set(bench.SCHEDULES) for name in bench.PLACES}

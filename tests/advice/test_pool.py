from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_lrsched.advice.matching import Estimate
from hf_lrsched.advice.pool import NARROWEST, WIDEST, pooled, source_weights
from hf_lrsched.advice.sources import Evidence, Source


def estimate(
    lr: float, *, source: str = "one", weight: float = 1.0, files: int = 1, formula: str = "", to: float | None = None
) -> Estimate:
    about = Evidence(
        f"{source}-{lr}", "learning_rate", "LR", "measured" if formula else "shipped", Source(source, source, 2026), "2026",
        value=lr, formula=formula, files=files,
    )  # fmt: skip
    return Estimate(about, lr, math.sqrt(lr * (to or lr)), to or lr, weight)


rates = st.floats(1e-7, 1.0)
estimates = st.lists(
    st.builds(estimate, rates, source=st.sampled_from("abc"), weight=st.floats(0.01, 3.0), files=st.integers(1, 60)),
    min_size=1,
    max_size=30,
)


@given(estimates)
def test_the_value_lies_in_a_band_of_the_promised_width_within_reach_of_the_evidence(ones: list[Estimate]) -> None:
    found = pooled(ones)
    assert found.low * (1 - 1e-9) <= found.value <= found.high * (1 + 1e-9)
    assert NARROWEST * (1 - 1e-9) <= found.high / found.low <= WIDEST * (1 + 1e-9)
    assert found.value / found.low > 1.09
    assert found.high / found.value > 1.09
    assert sum(found.shares) == pytest.approx(1)
    assert found.lowest * (1 - 1e-9) <= found.value <= found.highest * (1 + 1e-9)
    assert 0 < found.inside <= 1 + 1e-9


@given(estimates, st.floats(0.1, 10.0))
def test_other_units_change_nothing(ones: list[Estimate], factor: float) -> None:
    scaled = [
        estimate(one.value * factor, source=one.evidence.source.key, weight=one.weight, files=one.evidence.files)
        for one in ones
    ]
    assert pooled(scaled).value == pytest.approx(pooled(ones).value * factor)


@given(estimates)
def test_the_order_is_no_matter(ones: list[Estimate]) -> None:
    assert pooled(ones[::-1]).value == pytest.approx(pooled(ones).value)


def test_the_band_goes_where_the_most_of_the_evidence_is() -> None:
    found = pooled(
        [
            estimate(1e-4, source="a"),
            estimate(2e-4, source="b"),
            estimate(2e-4, source="e"),
            estimate(3e-4, source="c"),
            estimate(1e-5, source="d"),
        ]
    )
    assert [found.low, found.high] == pytest.approx([1e-4, 3e-4])
    assert found.inside == pytest.approx(0.8)
    assert found.sources == 5


def test_a_sweep_decides_the_value_and_the_rest_the_band() -> None:
    shipped = [estimate(1e-4, source=name) for name in "abcdef"]
    found = pooled([*shipped, estimate(3e-4, source="sweep", formula="3e-4")])
    assert found.value == pytest.approx(3e-4)
    assert found.low == pytest.approx(1e-4)


def test_a_project_with_many_files_does_not_outvote_many_projects() -> None:
    many = [estimate(2e-4, source="big", files=60)]
    few = [estimate(2e-5, source=name) for name in "abcdefghi"]
    assert pooled([*many, *few]).value == pytest.approx(2e-5)
    assert source_weights([*many, *few])[0] == pytest.approx(60**0.25)


def test_few_sources_do_not_show_how_far_practice_goes() -> None:
    one = pooled([estimate(1e-3)])
    assert one.value == pytest.approx(1e-3)
    assert one.high / one.low == pytest.approx(WIDEST)
    assert math.sqrt(one.low * one.high) == pytest.approx(1e-3)
    many = pooled([estimate(1e-3, source=name) for name in "abcde"])
    assert many.high / many.low == pytest.approx(NARROWEST)


def test_a_band_is_spread_over_its_length() -> None:
    found = pooled([estimate(1e-4, source=name, to=3e-4) for name in "abcde"])
    assert [found.low, found.high] == pytest.approx([1e-4, 3e-4])


def test_between_two_that_are_far_apart_the_lower_is_taken() -> None:
    assert pooled([estimate(1e-5, source="a"), estimate(1e-3, source="b")]).value == pytest.approx(1e-5)
    assert pooled([estimate(1e-4, source="a"), estimate(2e-4, source="b")]).value == pytest.approx(math.sqrt(2) * 1e-4)

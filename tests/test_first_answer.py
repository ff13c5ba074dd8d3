"""What a newcomer waits for, counted: programs and kernels that the first example of the README is compiled to."""

import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def first_answer(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import first_answer

    return first_answer


def test_the_first_example_is_compiled_to_few_programs_and_kernels(first_answer, tmp_path):
    code = first_answer.examples(ROOT)["README 1"]
    with tempfile.TemporaryDirectory() as dump:
        flags = f"--xla_dump_to={dump} --xla_dump_hlo_as_text"
        found = first_answer.run(code, ROOT, tmp_path / "cache", tmp_path, flags)
        texts = [path.read_text() for path in Path(dump).glob("*after_optimizations.txt")]
    assert len(texts) >= found["programs"] > 0
    assert found["programs"] <= 30  # 22 when this was written, 59 before
    assert sum(map(first_answer.kernels, texts)) <= 2000  # 1450 when this was written


def test_kernels_are_told_from_what_costs_nothing(first_answer):
    text = """
%inner (p: f64[3]) -> f64[3] {
  %p = f64[3]{0} parameter(0)
  ROOT %add.1 = f64[3]{0} add(%p, %p)
}

ENTRY %main (x: f64[3]) -> f64[3] {
  %x = f64[3]{0} parameter(0)
  %tuple.1 = (f64[3]{0}) tuple(%x)
  %get-tuple-element.1 = f64[3]{0} get-tuple-element(%tuple.1), index=0
  %fused = f64[3]{0} fusion(%get-tuple-element.1), kind=kLoop, calls=%inner
  ROOT %dot.1 = f64[3]{0} dot(%fused, %fused), lhs_contracting_dims={}
}
"""
    assert first_answer.kernels(text) == 2


def test_time_that_overlaps_counts_once(first_answer):
    assert first_answer.union([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0), (5.2, 5.4)]) == 4.0

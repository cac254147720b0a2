"""The measurement of prepare runs and reports what it says it reports."""

from tools.bench.prepare import bench_prepare


def test_bench_reports_both_rates() -> None:
    figures = bench_prepare(text_bytes=2_000_000, vocab_size=300)
    assert list(figures) == ["text_mb", "cores", "bare_mb_per_s", "prepare_mb_per_s", "ratio", "start_s"]
    assert figures["text_mb"] == 2.0
    assert figures["bare_mb_per_s"] > 0

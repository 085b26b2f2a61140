"""Measurements against the budgets of the design; `python -m benchmarks` runs them, RESULTS.md keeps them.

Never part of the tests: a busy machine may be slow without being wrong. Each figure stands beside a baseline of
the same run.
"""

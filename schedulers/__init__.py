"""Curves on the token clock: shapes, segments, whole schedules, batch-size ramps. Imports numpy and nothing else."""

"""Curves on the token clock: shapes, segments, whole schedules, batch-size ramps; numpy alone but for one adapter."""

"""Measurements on the user's own machine, each beside a baseline, printed as ratios."""

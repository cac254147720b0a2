"""``annealmix trace``: where each sample of a run comes from, and where each document goes."""

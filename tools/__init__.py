"""The programs of annealmix, one per command; installed under the name ``annealmix``."""

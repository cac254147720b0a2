"""``annealmix check``: reads all of a source and says what is wrong with it."""

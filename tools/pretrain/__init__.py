"""The pretraining program: the loop, and what surrounds it on disk and on the screen."""

"""``python -m annealmix``, ``torchrun -m annealmix`` and the console script ``annealmix`` all start here."""

from .cli import main

if __name__ == "__main__":
    main()

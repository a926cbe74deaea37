"""``python -m qsearch``: the command line."""

from qsearch.cli import main

if __name__ == "__main__":
    main()

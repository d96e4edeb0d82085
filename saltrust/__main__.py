"""``python -m saltrust``: the command line, where its script is not on the path."""

from saltrust.cli import main

if __name__ == "__main__":
    main(prog_name="saltrust")

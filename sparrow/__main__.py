"""`python -m sparrow COMMAND`: the same as the `sparrow` command."""

from sparrow.cli import main

if __name__ == "__main__":
    main()

"""`python -m assets.cli`."""

from assets.cli.main import main

if __name__ == "__main__":
    main()

"""`python -m slhmc`: the command line."""

from slhmc.cli import main

if __name__ == "__main__":
    main()

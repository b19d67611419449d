"""``python -m tickring``: the command line."""

from tickring_command import main

if __name__ == "__main__":
    main()

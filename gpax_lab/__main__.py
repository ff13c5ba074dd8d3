"""`python -m gpax_lab` is `gpax-lab`."""

from gpax_lab.cli import main

if __name__ == "__main__":
    main()

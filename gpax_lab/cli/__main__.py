"""`python -m gpax_lab.cli` is `gpax-lab`."""

from gpax_lab.cli import main

main()

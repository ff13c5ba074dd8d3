"""The command line `gpax-lab`: run a campaign, resume one, show one."""

import sys

_EXTRA = ("typer", "rich", "matplotlib")


def main() -> None:
    """Entry point of `gpax-lab`."""
    try:
        from gpax_lab.cli._app import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _EXTRA:
            raise
        sys.exit(f'gpax-lab needs {error.name}, which is not installed: pip install "gpax-lab[app]"')
    app()


__all__ = ["main"]

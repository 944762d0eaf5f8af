"""`python -m edgelm`: the same as the `edgelm` command."""

from edgelm.cli.main import app

if __name__ == "__main__":
    app()

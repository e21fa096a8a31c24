"""Run the command line: ``python -m landscape``."""

import os
import sys

# ``python -m`` puts the working folder first, where a file called jax.py would be imported instead of
# the library. It stays only where this package itself was found in it (a checkout that is not installed).
_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120  pathlib could be a decoy
if not sys.flags.safe_path and sys.path and sys.path[0] in {"", os.getcwd()} - {_HOME}:  # noqa: PTH109
    del sys.path[0]

from cli.main import main  # noqa: E402

if __name__ == "__main__":
    main()

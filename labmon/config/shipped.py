"""Where the files are that labmon ships: inside the installed package, else beside it in a checkout."""

from __future__ import annotations

from pathlib import Path

import labmon


def shipped(folder: str) -> Path:
    """The shipped folder `config` or `drivers`."""
    package = Path(labmon.__file__).resolve().parent
    installed = package / "shipped" / folder
    return installed if installed.is_dir() else package.parent / folder

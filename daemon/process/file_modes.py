"""Folders and files for another account, whatever the umask of whoever makes them.

Under umask 077 root makes folders that the account of our own Postgres may not pass.
"""

import stat
from pathlib import Path

OPEN_FOLDER = 0o755


def make_folders(path: Path) -> None:
    """Make `path` and its parents; those that were missing are open to pass. Raises OSError."""
    missing = [each for each in (path, *path.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        each.chmod(OPEN_FOLDER)


def open_tree(root: Path) -> None:
    """Let everybody read what is below `root`, and run what its owner may run."""
    for path in (root, *root.rglob("*")):
        if path.is_symlink():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        # what the owner may read or run, the others may
        path.chmod(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)

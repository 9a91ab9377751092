"""What the doctor looks at around the process: the log file, and what the environment changes."""

import os
from pathlib import Path

from daemon.config import Config
from daemon.findings import Finding, fault, note, ok

LOG = "log"


def log_file(config: Config) -> Finding:
    """Whether the log file can be written by this account. Nothing is written."""
    if not config.log.file:
        return note(LOG, "standard output only")
    path = Path(config.log.file)
    mend = "give the daemon's account the right to write it, or set log.file to another path"
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK))
    except FileNotFoundError:
        place = next(each for each in path.absolute().parents if each.exists())
        if not os.access(place, os.W_OK | os.X_OK):
            return fault(LOG, f"{path} cannot be made: {place} is closed to this account", mend)
        return ok(LOG, f"{path} will be made")
    except OSError as exc:
        return fault(LOG, f"{path} cannot be written: {exc.strerror}", mend)
    return ok(LOG, f"{path} can be written")

"""Who gives a command, as the tables remember it."""

import os
import pwd


def operator() -> str:
    """The person at this command line, for the audit."""
    try:
        return f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"cli:{os.getuid()}"

"""The errors of the two halves of the REST interface."""

from jobs.matching.rules import VenueError

__all__ = ["BAD_PARAMETER", "MISSING_PARAMETER", "TYPE_MISMATCH", "Quotation", "VenueError", "bad"]

BAD_PARAMETER = "Invalid parameter. Check the given value!"
MISSING_PARAMETER = "Missing request parameter error. Check the required parameters!"
TYPE_MISMATCH = "Type mismatch error. Check the parameters type!"


class Quotation(Exception):
    """A refusal of the quotation half: its error name is the status itself."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


def bad(message: str = "잘못된 파라미터") -> VenueError:
    """The exchange half's 400 for a parameter that cannot be used."""
    return VenueError("invalid_parameter", 400, message)

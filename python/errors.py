"""The one exception that is meant for a reader: a line that says what was wrong, where, and what to do."""


class RavelError(Exception):
    """A failure the user can act on; commands print its message as one line and exit with status 2."""

"""The one kind of error a user sees: where, what stands there, what was expected, what to do."""


class UserError(Exception):
    """A mistake in a recipe, a file or an option; the front door prints it on one line and exits with status 2.

    >>> str(UserError("quickstart.yaml: phases[2].tokens", got="0", expected="a positive number of tokens"))
    'quickstart.yaml: phases[2].tokens: got 0; expected a positive number of tokens'
    """

    def __init__(self, where: str, *, got: str = "", expected: str = "", fix: str = "") -> None:
        parts = [f"got {got}" if got else "", f"expected {expected}" if expected else "", fix]
        details = "; ".join(part for part in parts if part)
        super().__init__(f"{where}: {details}" if details else where)

"""How a command ends that the user stopped."""

from stylealign.errors import StyleAlignError


class StoppedError(StyleAlignError):
    """Ctrl-C was pressed; the message says how to go on."""

"""The errors a user can meet, as one tree.

StyleAlignError
  ParamsError        a value in params.yaml cannot be used
  DataError          missing, broken, too few, wrong hash, licence not listed
  CheckpointError    wrong format, shape or dtype; names the first bad tensor
  LineageError       models or codes that do not share a parent
  DivergenceError    loss not finite, or outputs collapsed; says at which kimg

A message says what was wrong, what was expected, and what to do: lower case, values in `!r`.
"""


class StyleAlignError(Exception):
    """The root: catch it to catch everything this package raises on purpose."""


class ParamsError(StyleAlignError, ValueError):
    """A value in params.yaml cannot be used."""


class DataError(StyleAlignError, ValueError):
    """Data that is missing, broken, too few, or not what its hash says."""


class CheckpointError(StyleAlignError, ValueError):
    """A model file of the wrong format, shape or dtype; the message names the first bad tensor."""


class LineageError(StyleAlignError, ValueError):
    """Models or codes that do not share a parent."""


class DivergenceError(StyleAlignError, RuntimeError):
    """A loss that is not finite, or outputs that collapsed; the message says at which kimg."""

"""The error tree of the product.

    StyleAlignError
      ParamsError        a value in params.yaml cannot be used
      DataError          missing, broken, too few, wrong hash, licence not listed
      CheckpointError    wrong format, shape or dtype; names the first bad tensor
      LineageError       models or codes that do not share a parent
      DivergenceError    loss not finite, or outputs collapsed; says at which kimg
"""


class StyleAlignError(Exception):
    """Root of everything that the library raises on purpose."""


class ParamsError(StyleAlignError, ValueError):
    """A value in params.yaml cannot be used."""


class DataError(StyleAlignError, ValueError):
    """Data are missing, broken, too few, or not what was declared."""


class CheckpointError(StyleAlignError, ValueError):
    """A checkpoint has the wrong format, shape or dtype."""


class LineageError(StyleAlignError, ValueError):
    """Models or codes do not share a parent."""


class DivergenceError(StyleAlignError, RuntimeError):
    """A loss is not finite, or outputs collapsed."""

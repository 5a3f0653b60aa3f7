"""Exceptions: one class per cause, each inheriting the nearest built-in.

Every message says what, where, why and what to try. The command line prints the
message of any `EcgJaxError` without a traceback.
"""


class EcgJaxError(Exception):
    """Base of every error that `ecg_jax` raises on purpose."""


# Factoring a program


class NoGateError(EcgJaxError, ValueError):
    """The function has no live gate left: it is an atom, affine in its input."""


class UnsupportedPrimitiveError(EcgJaxError, NotImplementedError):
    """An operation that sees the input has no exact max-min rule."""


class NotScalarError(EcgJaxError, ValueError):
    """The function to factor does not return one real scalar."""


class NotPureError(EcgJaxError, ValueError):
    """Two traces of the function differ, or it has side effects."""


class ExampleError(EcgJaxError, ValueError):
    """An input has another structure, shape or dtype than the example."""


class ParamsError(EcgJaxError, ValueError):
    """Params have another structure, shape or dtype than those that were traced."""


class DTypeError(EcgJaxError, TypeError):
    """A program works on a dtype for which exactness is not defined."""


class NonFiniteError(EcgJaxError, ValueError):
    """A weight or an input is NaN or infinite."""


class PatternError(EcgJaxError, ValueError):
    """A pattern or a mask does not belong to the opened gates."""


class FreezeError(EcgJaxError, ValueError):
    """A gate has no tangent at its anchor, or fields that contradict each other."""


class CertificateError(EcgJaxError, ArithmeticError):
    """A factorization violates its certificate."""


class CoverError(EcgJaxError, ValueError):
    """No components can be chosen from the candidates given."""


# Recordings and data sets


class RecordingError(EcgJaxError, ValueError):
    """One recording cannot be used; the others go on."""


class MissingFileError(RecordingError, FileNotFoundError):
    """A file that a recording or a folder needs is not there."""


class TruncatedError(RecordingError, EOFError):
    """A file ends before its header says it does."""


class HeaderError(RecordingError):
    """A header disagrees with its data, or cannot be read."""


class SignalError(RecordingError):
    """The signal is flat, not finite, or too short for a beat."""


class LabelError(RecordingError):
    """A label is unknown."""


class EmptyFolderError(EcgJaxError, FileNotFoundError):
    """A folder holds no recordings."""


class DataError(EcgJaxError, ValueError):
    """A data set as a whole cannot be used: one class only, no beats, ..."""


class ChecksumError(EcgJaxError, OSError):
    """A file does not have the SHA-256 it should have."""


class DownloadError(EcgJaxError, OSError):
    """A download failed."""


class UnsafeArchiveError(EcgJaxError, ValueError):
    """An archive member would leave the folder it is unpacked into."""


# Models, runs, files


class ModelError(EcgJaxError, ValueError):
    """A model file is missing a part, or its shapes disagree with its config."""


class MissingExtraError(EcgJaxError, ImportError):
    """A feature needs an optional dependency that is not installed."""


class StoreError(EcgJaxError, ValueError):
    """A saved equation cannot be written or read back."""


class PickleError(EcgJaxError, TypeError):
    """An equation was to be pickled; it is saved as a folder instead."""


class TrainingError(EcgJaxError, ValueError):
    """No network can be trained with these options."""


class RunExistsError(EcgJaxError, FileExistsError):
    """The output folder holds a run already."""


class RunInUseError(EcgJaxError, BlockingIOError):
    """Another process is working in the run folder."""


class RunError(EcgJaxError, ValueError):
    """A run folder is incomplete, or its configuration is another one."""


class SweepError(EcgJaxError, ValueError):
    """A sweep's configuration cannot be used, or some of its cells failed."""


class DriverError(EcgJaxError, RuntimeError):
    """Whatever computes the cells of a sweep, a cluster say, went away."""


class DiskFullError(EcgJaxError, OSError):
    """No space is left where the output goes."""

"""The exceptions of the package. Each is an `Error`, and the built-in exception that a caller would expect."""

import pickle


class Error(Exception):
    """Any error of rmnet. Its text names what was expected and what was found."""


class OptionError(Error, ValueError):
    """An option has a value that cannot be used, or names a value that the network does not have."""


class InputError(Error, ValueError):
    """An array or an image that the network cannot read: a wrong shape, NaN, or memory of a GPU."""


class DtypeError(InputError, TypeError):
    """An array whose elements have another type than the network reads."""


class ImageError(InputError):
    """A file or bytes that cannot be decoded as PNG or JPEG."""


class CheckpointError(Error, ValueError):
    """A file that is no checkpoint, is damaged, or is refused."""


class ModelError(Error, ValueError):
    """Tensors that match no known network, or a network that cannot be written."""


class PlanError(Error, ValueError):
    """A network that cannot be planned, such as for a batch that a GPU's buffers are too small for."""


class FileError(Error, OSError):
    """A file that cannot be read or written. `errno` is the system's number, where there is one."""


class NotFoundError(FileError, FileNotFoundError):
    """There is no such file, or no file of weights in a folder."""


class OutOfMemoryError(Error, MemoryError):
    """The device or the machine has too little memory."""


class NotFiniteError(Error, ArithmeticError):
    """A value of the network overflows the precision of the run."""


class DeviceError(Error, RuntimeError):
    """No such device, or a device that cannot be opened or was lost."""


class DeviceTimeoutError(DeviceError, TimeoutError):
    """The device did not respond within the session's timeout."""


class PicklingError(Error, pickle.PicklingError):
    """A session that cannot be pickled, since no other process could open it again."""


class ForkError(Error, RuntimeError):
    """The process was forked after rmnet was used in it."""


class InternalError(Error, RuntimeError):
    """A bug in rmnet. Please report it."""

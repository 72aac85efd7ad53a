"""A file whose writer is told of errors when it has finished."""

import io


class ForgivingFile(io.FileIO):
    """A file that seems to take everything: its first error is kept, and nothing is written after it.

    HDF5 keeps what it cannot write to a full disk, and writing it once more on closing ends the process.
    """

    error: OSError | None = None

    def write(self, data) -> int:  # type: ignore[no-untyped-def,override]
        """Write all bytes, unless there was an error."""
        left = memoryview(data).cast("B")
        size = len(left)
        while len(left) and self.error is None:
            try:
                left = left[super().write(left) :]
            except OSError as error:
                self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Set the length, unless there was an error."""
        if self.error is None:
            try:
                return super().truncate(size)
            except OSError as error:
                self.error = error
        return self.tell() if size is None else size

"""The root of the error tree, and the branch that storage raises.

    ExportError                     everything this project raises on purpose
    +-- WarehouseError              storage could not do what was asked (exit code 6)
    |   +-- FixWarehouse            the operator must make the root usable: path, permission, space
    |   |   +-- FixProcess          a limit of this process is too low, and nothing is wrong with the root (exit code 2)
    |   +-- NotSealed               the newest commit was made without the key of EXPORT_SEAL_KEY (exit code 4)
    |   +-- Untrusted               a file or folder that others made or may change: see to it first (exit code 2)
    |   +-- RepairWarehouse         landed files are missing or damaged: run `verify`, then `rebuild` or re-export
    |   +-- CommitRace              another process took the commit number too often: run again
    |   +-- UpdateProgram           a newer version wrote it: install that version; nothing was changed
    +-- FixQuery                    the question in SQL cannot be answered as it is; change it (exit code 2)
    +-- ChooseRoot                  EXPORT_ROOT holds files of others where ours would be: set another (exit code 2)
    +-- (the other branches: see `pipelines.errors`)

Messages are one clear sentence. They carry paths, SIDs and counts, never a secret, a signed URL or content.
"""


class ExportError(Exception):
    """Base of all errors this project raises on purpose."""


class WarehouseError(ExportError):
    """Storage could not do what was asked; nothing landed before is harmed."""


class FixWarehouse(WarehouseError):
    """The destination folder is not usable: wrong path, missing permission, no space."""


class FixProcess(FixWarehouse):
    """A limit of this process, its container or the machine is too low: open files, processes, memory."""


class FixQuery(ExportError):
    """A question in SQL that cannot be answered as it is."""


class NotSealed(WarehouseError):
    """The newest commit was not made by a holder of the key: nothing is built on it."""


class Untrusted(WarehouseError):
    """A file or folder that somebody else made, may change, or put a link in place of; nothing is read or written."""


class RepairWarehouse(WarehouseError):
    """A landed file is missing or damaged."""


class CommitRace(WarehouseError):
    """Other processes committed first too many times in a row; running again settles it."""


class UpdateProgram(WarehouseError):
    """What a newer version wrote is not written to, nor erased from, by this one."""


class ChooseRoot(ExportError):
    """EXPORT_ROOT is a folder in use: files that this program did not make are where it would make its own."""

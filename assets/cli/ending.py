"""How a command ends: the sentence for what went wrong, and the exit code that it means."""

import os
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import NoReturn

from assets.cli.process import interrupted, interruption, let_go
from assets.discreet import discreet
from assets.terminal import drop_what_cannot_be_printed, say
from pipelines.errors import (
    AlertNotDelivered,
    ApplyAgain,
    ChooseRoot,
    ConfirmErasure,
    ExportError,
    FixConfiguration,
    FixProcess,
    FixQuery,
    IncompleteExport,
    NotSealed,
    PlanAgain,
    RunLater,
    SourceError,
    Untrusted,
    VerificationMismatch,
    WarehouseError,
)
from warehouse.store.limits import limit


class ExitCode(IntEnum):
    """What the process says when it ends."""

    OK = 0
    UNEXPECTED = 1
    CONFIGURATION = 2
    REFUSED = 3
    MISMATCH = 4
    RUN_AGAIN = 5
    WAREHOUSE = 6
    INTERRUPTED = 130


def exit_code(error: BaseException) -> ExitCode:
    """The exit code an error means."""
    match error:
        case FixConfiguration() | FixQuery() | FixProcess() | AlertNotDelivered() | Untrusted() | ChooseRoot():
            return ExitCode.CONFIGURATION
        case PlanAgain() | ConfirmErasure():
            return ExitCode.REFUSED
        case IncompleteExport(again=True) | SourceError() | ApplyAgain() | RunLater():
            return ExitCode.RUN_AGAIN
        case IncompleteExport() | VerificationMismatch() | NotSealed():
            return ExitCode.MISMATCH
        case WarehouseError():
            return ExitCode.WAREHOUSE
        case KeyboardInterrupt():
            return ExitCode.INTERRUPTED
        case _:
            return ExitCode.UNEXPECTED


def end_with(work: Callable[[], int]) -> NoReturn:
    """Do the work and end the process with its exit code, or with that of the error that it raises."""
    try:
        try:
            code = _done(work)
        finally:
            let_go()
            drop_what_cannot_be_printed()
    except KeyboardInterrupt:
        _end_interrupted()
    os._exit(code)  # everything has unwound: taking down what libraries hold would only take time


def _done(work: Callable[[], int]) -> int:
    """The exit code of the work; of an error, once it is said."""
    try:
        return work()
    except ExportError as error:
        if interrupted():
            raise KeyboardInterrupt from None
        for reason in error.reasons[1:] if isinstance(error, PlanAgain) else ():
            say(reason)
        say(str(error))
        return exit_code(error)
    except BrokenPipeError:
        return ExitCode.OK  # the reader of our output has seen enough
    except PermissionError as error:
        what = error.filename or "the files of this command"
        say(f"You may not use {what}: it is private to another user; be that user, or ask for EXPORT_SHARED_READ.")
        return ExitCode.WAREHOUSE
    except Exception as error:  # the outermost edge: report and exit 1
        if interrupted():
            raise KeyboardInterrupt from None
        if (reached := limit(error, Path.cwd())) is not None:
            say(str(reached))
            return exit_code(reached)
        say(discreet(error))
        say("This is a defect of addon-export; nothing that was landed is harmed.")
        return ExitCode.UNEXPECTED


def _end_interrupted() -> NoReturn:
    while True:
        try:
            let_go()
            break
        except KeyboardInterrupt:  # one more
            continue
    say(f"{interruption()}; what was landed stays, and the next export goes on from there.")
    drop_what_cannot_be_printed()
    os._exit(ExitCode.INTERRUPTED)  # everything has unwound; libraries' exit hooks may not change the code

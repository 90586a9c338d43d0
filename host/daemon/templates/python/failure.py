"""How a run fails."""

from collections.abc import Callable
from functools import wraps

from componentize_py_types import Err
from wit_world.imports.types import Failure


def failure(message: str, permanent: bool = False, retry_after_ms: int | None = None) -> Err:
    """What a run raises to fail with a message: `permanent` if trying again is of no use, and after how long it is to be tried again."""
    return Err(Failure(message=message, permanent=permanent, retry_after_ms=retry_after_ms))


def catching(run: Callable) -> Callable:
    """Has what an import raises and nobody catches fail the run by what it says, where it would be a trap."""

    @wraps(run)
    def caught(*args):
        try:
            return run(*args)
        except Err as error:
            if isinstance(error.value, Failure):
                raise
            raise failure(str(error.value)) from error

    return caught

"""Where in a plugin's own files an exception was raised: places alone, no values, and not many."""

import sys
from collections.abc import Iterator
from pathlib import Path
from traceback import walk_tb

# The innermost calls say where it happened; a recursion has thousands.
MAX_PLACES = 20

# A path that a plugin chooses must not fill the log.
MAX_PLACE_LENGTH = 200

# Of an error that was raised for another one, and so on.
MAX_CAUSES = 10


def own_places(error: BaseException, module: str) -> str:
    """Return the calls that led to an error, outermost first, a line for each.

    Args:
        error: The error; one that it was raised for counts where it is of the plugin's own.
        module: Import path of the plugin's module. Its own files are those of its package.
    """
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return ""
    path = Path(file)
    is_package = path.stem == "__init__"
    own, base = (path.parent, path.parents[1]) if is_package else (path, path.parent)
    for cause in reversed(list(_causes(error))):
        places = [
            f"{Path(name).relative_to(base)}:{line} in {frame.f_code.co_name}"
            for frame, line in walk_tb(cause.__traceback__)
            if Path(name := frame.f_code.co_filename).is_relative_to(own)
        ]
        if places:
            return "\n".join(place[:MAX_PLACE_LENGTH] for place in places[-MAX_PLACES:])
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    for _ in range(MAX_CAUSES):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__

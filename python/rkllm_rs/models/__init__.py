"""Files of models: where they are, what they are, and whether they fit into a board's memory.

>>> from rkllm_rs import models
>>> models.inspect("model.gguf").kind
'gguf'
>>> models.find("model.gguf")  # doctest: +SKIP
'/home/user/model.gguf'

Nothing here loads a library or a model.
"""

from __future__ import annotations

from .finding import find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .choosing import Candidate
    from .describing import describe
    from .inspection import Inspection, Problem, inspect
    from .listing import InstalledModel, installed
    from .planning import Plan, PlannedModel, plan
    from .pulling import pull
    from .removing import Removal, remove
    from .settings import Modelfile, modelfile

__all__ = [
    "Candidate",
    "Inspection",
    "InstalledModel",
    "Modelfile",
    "Plan",
    "PlannedModel",
    "Problem",
    "Removal",
    "describe",
    "find",
    "inspect",
    "installed",
    "modelfile",
    "plan",
    "pull",
    "remove",
]

#: Names that are imported on their first use, since finding a model should take milliseconds.
_LATER = {
    "Candidate": "choosing",
    "InstalledModel": "listing",
    "Modelfile": "settings",
    "Removal": "removing",
    "describe": "describing",
    "modelfile": "settings",
    "remove": "removing",
    "Inspection": "inspection",
    "Plan": "planning",
    "PlannedModel": "planning",
    "Problem": "inspection",
    "inspect": "inspection",
    "installed": "listing",
    "plan": "planning",
    "pull": "pulling",
}


def __getattr__(name: str) -> object:
    """Imports what most programs do without."""
    import importlib

    if name not in _LATER:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    found: object = getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
    globals()[name] = found
    return found

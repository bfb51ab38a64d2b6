"""Files of models: what they are, and whether they fit into a board's memory.

>>> from rkllm_rs import models
>>> models.inspect("model.gguf").kind
'gguf'

Nothing here loads a library or a model.
"""

from __future__ import annotations

from .inspection import Inspection, Problem, inspect
from .planning import Plan, PlannedModel, plan

__all__ = ["Inspection", "Plan", "PlannedModel", "Problem", "inspect", "plan"]

"""Which models and operations a caller may ask for, by rules/identities.yaml and by the caller's virtual key."""

from __future__ import annotations

from collections.abc import Iterable

from mitmesh.attest.keys import Key
from mitmesh.dialects.base import Operation
from mitmesh.globs import glob
from mitmesh.rules.identities import ModelRule

_NEED_MODEL = (Operation.CHAT, Operation.EMBEDDINGS, Operation.COUNT_TOKENS, Operation.OTHER)


def rule_for(team: str | None, rules: Iterable[ModelRule]) -> ModelRule | None:
    """The first rule that is for this team."""
    return next((rule for rule in rules if rule.team in (None, team)), None)


def may_use(model: str | None, operation: Operation, allow: Iterable[str], refuse: Iterable[str] = ()) -> bool:
    """May this model be used? One that is not named may not, where only some are allowed; lists of models may."""
    if operation not in _NEED_MODEL:
        return True
    wanted, unwanted = tuple(allow), tuple(refuse)
    if model is None:
        return not wanted
    name = model.rpartition("/")[2] if "/" in model else model
    if any(glob(each).fullmatch(said) for each in unwanted for said in (model, name)):
        return False
    return not wanted or any(glob(each).fullmatch(said) for each in wanted for said in (model, name))


def in_scope(operation: Operation, key: Key) -> bool:
    """May the key be used for this?"""
    return not key.scopes or operation.value in key.scopes

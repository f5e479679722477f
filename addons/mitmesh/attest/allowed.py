"""Which models and operations a caller may ask for, by rules/identities.yaml and by the caller's virtual key."""

from __future__ import annotations

from collections.abc import Iterable

from mitmesh.attest.keys import Key
from mitmesh.dialects.base import Call, Operation
from mitmesh.globs import glob
from mitmesh.rules.identities import ModelRule

_NEED_MODEL = (Operation.CHAT, Operation.EMBEDDINGS, Operation.COUNT_TOKENS, Operation.OTHER)


def rule_for(team: str | None, rules: Iterable[ModelRule]) -> ModelRule | None:
    """The first rule that is for this team."""
    return next((rule for rule in rules if rule.team in (None, team)), None)


def may_use(call: Call, allow: Iterable[str], refuse: Iterable[str] = ()) -> bool:
    """May every model be used that the call names, for any may serve it? One that is not named may not, where only some
    are allowed; lists of models may be asked for."""
    if call.operation not in _NEED_MODEL:
        return True
    wanted, unwanted = tuple(allow), tuple(refuse)
    if call.model is None and wanted:
        return False
    if unwanted and any(_fits(name, unwanted) for name in call.models):
        return False
    return not wanted or all(_fits(name, wanted) for name in call.models)


def _fits(model: str, patterns: Iterable[str]) -> bool:
    name = model.rpartition("/")[2] if "/" in model else model
    return any(glob(each).fullmatch(said) for each in patterns for said in (model, name))


def in_scope(operation: Operation, key: Key) -> bool:
    """May the key be used for this?"""
    return not key.scopes or operation.value in key.scopes

"""Which models and operations a caller may ask for, by rules/identities.yaml and by the caller's virtual key."""

from __future__ import annotations

from collections.abc import Iterable

from mitmesh.attest.keys import Key
from mitmesh.dialects.base import Call, Operation
from mitmesh.globs import is_model
from mitmesh.paths import is_about_data
from mitmesh.rules.identities import ModelRule

_NEED_MODEL = (Operation.CHAT, Operation.EMBEDDINGS, Operation.COUNT_TOKENS, Operation.OTHER)


def rule_for(team: str | None, rules: Iterable[ModelRule]) -> ModelRule | None:
    """The first rule that is for this team."""
    return next((rule for rule in rules if rule.team in (None, team)), None)


def may_use(call: Call, allow: Iterable[str], refuse: Iterable[str] = (), *, runs_one: bool = True) -> bool:
    """May every model be used that the call names, for any may serve it? One that is not named may not, where only some
    are allowed; lists of models may be asked for, and what does not run any (`runs_one`)."""
    if call.operation not in _NEED_MODEL:
        return True
    wanted, unwanted = tuple(allow), tuple(refuse)
    if not call.models and wanted:
        return not runs_one
    if unwanted and any(is_model(name, unwanted) for name in call.models):
        return False
    return not wanted or all(is_model(name, wanted) for name in call.models)


def runs_a_model(method: str, path: str, provider: str, operation: Operation) -> bool:
    """May this call run a model, though it names none? Not where something is looked up or taken away, or files are
    sent."""
    return operation is not Operation.OTHER or not (
        method in ("GET", "HEAD", "DELETE") or is_about_data(path, provider)
    )


def in_scope(operation: Operation, key: Key) -> bool:
    """May the key be used for this?"""
    return not key.scopes or operation.value in key.scopes

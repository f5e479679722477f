"""What the engine's parts share: the rules in force, the stages, and in which phase of its life the process is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from mitmesh.guard import Guard
from mitmesh.stage import ORDER, RETURN, Stage

if TYPE_CHECKING:
    from mitmesh.exchange import Connection
    from mitmesh.loopback import Loopback
    from mitmesh.rules import Rules
    from mitmesh.scope import HostTable


class Phase(StrEnum):
    """STARTING and DRAINING refuse new calls; STOPPED does nothing any more."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


@dataclass
class House:
    """One running mitmesh. `rules` and `table` are replaced together when a rules file changes."""

    stages: list[Stage]
    rules: Rules
    table: HostTable
    loopback: Loopback
    gateway_spec: str = ""
    """mitmproxy's `full_spec` of the gateway's mode, to tell its connections from the proxy's."""
    own_ports: frozenset[int] = frozenset()
    phase: Phase = Phase.STARTING
    guard: Guard = field(default_factory=Guard)
    problem: str | None = None
    """Why the last reload of the rules failed; the rules before it are in force."""

    def __post_init__(self) -> None:
        self.stages.sort(key=lambda stage: ORDER.index(stage.name))
        self.back = sorted(self.stages, key=lambda stage: RETURN.index(stage.name))
        self.deciding = having("request", self.stages)
        self.starting, self.streaming = having("response_start", self.back), having("stream", self.back)
        self.rewriting = having("text", self.back)
        self.knowing, self.settling = having("response", self.back), having("needs_settling", self.back)
        self.replaying = having("replayed", self.back)

    def configure(self, rules: Rules, table: HostTable) -> None:
        """Put new rules in force in every stage; raises RulesError, and then the old ones hold in all of them."""
        try:
            for stage in self.stages:
                stage.configure(rules)
        except Exception:
            if self.phase is not Phase.STARTING:
                for stage in self.stages:
                    stage.configure(self.rules)
            raise
        self.rules, self.table = rules, table

    def connection(self, row: Connection) -> None:
        """Tell the stages of a connection."""
        for stage in self.back:
            try:
                stage.connection(row)
            except Exception as error:  # noqa: BLE001 # as the guard's: no stage keeps a connection's row from the next
                self.guard.note(stage.name, "connection", error)

    def health(self) -> dict[str, Any]:
        """What /health says: the phase, the rules, and each stage's own words. Ready only when governed."""
        stages = {stage.name: self.guard.health(stage) for stage in self.stages}
        problems = [f"{name}: {said['problem']}" for name, said in stages.items() if "problem" in said]
        warnings = [f"{name}: {said['warning']}" for name, said in stages.items() if "warning" in said]
        ready = self.phase is Phase.READY and not problems
        return {
            "status": self.phase if ready or self.phase is not Phase.READY else "not ready",
            "policy_version": self.rules.version,
            "problems": problems,
            "warnings": [self.problem, *warnings] if self.problem else warnings,
            "failures": dict(self.guard.failures),
            "stages": stages,
        }


def having(method: str, stages: list[Stage]) -> list[Stage]:
    """The stages that do something in this method: a call need not ask the others."""
    nothing = getattr(Stage, method)
    return [stage for stage in stages if getattr(getattr(stage, method), "__func__", None) is not nothing]

"""`python -m bench`: what scripts/bench runs."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
from pathlib import Path

from bench import beside, hits, quota, redaction, report, runner, semantic, systems
from bench.load import CallFailed
from mitmesh.launch import LaunchError


def parser() -> argparse.ArgumentParser:
    """The options of scripts/bench; its own --help repeats them."""
    made = argparse.ArgumentParser(prog="scripts/bench")
    made.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    made.add_argument("--quick", action="store_true", help="shows that it runs, its figures mean little")
    return made


async def run(plan: runner.Plan) -> runner.Results:
    """Measure; SIGTERM ends it as Ctrl-C does, with all processes started here."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory(prefix="mitmesh-bench-") as folder:
        async with systems.running(Path(folder)) as started:
            results = await runner.measure(started, plan, _say)
            results.cache = await hits.measure(started, plan.rounds, plan.seconds, _say)
            others = await beside.measure(started.suite, plan.rounds, 2 * plan.seconds, _say)
        results.redaction = others | await redaction.measure(Path(folder), plan.rounds, _say)
        results.quota = await quota.measure(Path(folder), plan.rounds, _say)
        results.cache |= await hits.misses(Path(folder), plan.rounds, _say)
        results.semantic = await semantic.measure(plan.rounds, _say)
        return results


def _say(what: str) -> None:
    print(f"bench: {what}", file=sys.stderr)


def main() -> None:
    """Exits with 0 whatever the figures, with 1 if a call failed or something did not start."""
    options = parser().parse_args()
    if not Path("/proc/self/stat").exists():
        sys.exit("bench: CPU time and memory are read from Linux's /proc, which is not here")
    plan = runner.QUICK if options.quick else runner.Plan()
    try:
        results = asyncio.run(run(plan))
    except (CallFailed, LaunchError) as error:
        sys.exit(f"bench: {error}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("bench: told to stop")
    found = report.document(results, plan)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    print(report.table(found))


if __name__ == "__main__":
    main()

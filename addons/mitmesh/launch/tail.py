"""scripts/tail: what /live shows, a line an event, in a terminal."""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from typing import Any

from mitmesh.launch import LaunchError, home, printable, ready

NAMES = ("llm_call", "cache_hit", "cache_miss", "quota_warn", "quota_block", "refused", "redacted")
COLOURS = {
    "refused": "31",
    "quota_block": "31",
    "dropped": "31",
    "quota_warn": "33",
    "redacted": "33",
    "cache_hit": "32",
}


def stream(lines: Iterable[bytes]) -> Iterator[tuple[str, Any]]:
    """Server-sent events: each one's name and its parsed data."""
    name = ""
    for raw in lines:
        field, _, value = raw.decode("utf-8", "replace").rstrip("\r\n").partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


def line(event: dict[str, Any]) -> str:
    """One event for people. What callers named cannot steer the terminal."""
    if event["event"] == "dropped":
        return f"{'dropped':<12} {event['events']} events came faster than they were taken"
    caller = " ".join(str(event[name]) for name in ("user", "team", "tool") if event.get(name)) or "unknown"
    words = [f"{event['at'][11:19]} {event['event']:<12} {caller:<28}", event.get("model") or "-"]
    words += _outcome(event) if event["event"] == "llm_call" else _verdict(event)
    return printable("  ".join([*words, event["id"]]))


def _outcome(event: dict[str, Any]) -> list[str]:
    words = [] if event["outcome"] == "answered" else [str(event["outcome"])]
    words += [f"HTTP {event['status']}"] if (event["status"] or 0) >= 400 else []
    if event["prompt"] is not None:
        words.append(f"{event['prompt']}+{event['completion']} tokens{' (estimated)' if event['estimated'] else ''}")
        words.append(("~" if event["notional"] else "") + dollars(event["cost_microusd"]))
    return [*words, f"{event['total_ms']} ms ({event['own_ms']} ours)"]


def _verdict(event: dict[str, Any]) -> list[str]:
    observed = " (only observed)" if event.get("mode") == "observe" else ""
    return [f"{event['rule']}{observed}"] if event.get("rule") else []


def summary(sessions: list[dict[str, Any]]) -> str:
    """What runs now, in one line."""
    running = [each for each in sessions if each["running"]]
    tokens = sum(each["prompt"] + each["completion"] for each in sessions)
    cost = dollars(sum(each["cost_microusd"] for each in sessions))
    return f"{len(running)} running, {len(sessions)} sessions, {tokens} tokens, {cost} metered"


def dollars(micro: int | None) -> str:
    """Micro-dollars for people."""
    return "unknown" if micro is None else f"${micro / 1e6:.4f}"


def watch(lines: Iterable[bytes], only: set[str], as_json: bool, terminal: bool) -> None:
    """Print events as they come; in a terminal the last line says what runs."""
    status = ""
    for name, data in stream(lines):
        if name == "sessions":
            status = summary(data) if terminal and not as_json else ""
        elif name in only or name == "dropped":
            colour = COLOURS.get(name) if terminal and not as_json else None
            text = json.dumps(data) if as_json else line(data)
            sys.stdout.write(
                ("\r\x1b[K" if terminal else "") + (f"\x1b[{colour}m{text}\x1b[0m" if colour else text) + "\n"
            )
        if status:
            sys.stdout.write(f"\r\x1b[K{status}")
        sys.stdout.flush()


def parser() -> argparse.ArgumentParser:
    """The options of scripts/tail; its own --help repeats them."""
    made = argparse.ArgumentParser(prog="scripts/tail", description="Show calls as they happen.")
    made.add_argument("events", nargs="*", metavar="EVENT", help=f"only these: {', '.join(NAMES)}")
    made.add_argument("--json", action="store_true", help="a line of JSON for each event")
    return made


def main(argv: list[str] | None = None) -> None:
    """Ends with Ctrl-C (code 0), or with one clear line when mitmesh does."""
    options, folder = parser().parse_args(argv), home()
    try:
        if unknown := sorted(set(options.events) - set(NAMES)):
            raise LaunchError(f"there is no event {unknown[0]}; there are {', '.join(NAMES)}")
        control = (ready.running(folder) or {}).get("control", "none")
        if control == "none":
            raise LaunchError(f"nothing runs on {folder} that could be watched: start scripts/run")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{control}/live/events", timeout=60) as answer:
            watch(answer, set(options.events or NAMES), options.json, sys.stdout.isatty())
    except LaunchError as error:
        sys.exit(f"mitmesh: {error}")
    except urllib.error.HTTPError as error:
        sys.exit(f"mitmesh: {error.read(200).decode('utf-8', 'replace').strip()}")
    except OSError:
        sys.exit("mitmesh: the connection to mitmesh was lost")
    except (KeyboardInterrupt, BrokenPipeError):
        return
    sys.exit("mitmesh: mitmesh has ended")


if __name__ == "__main__":
    main()

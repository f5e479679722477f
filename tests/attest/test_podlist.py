from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.pods import BEGAN, event, pod
from mitmesh.attest.podinfo import Malformed
from mitmesh.attest.podlist import Gone, PodTable, WatchError

IP, OTHER = "10.0.0.5", "10.0.0.6"


def table(*items: dict[str, Any], most: int = 100, now: float = 1000) -> PodTable:
    """A table with these in its first list."""
    return listed(PodTable(most=most, clock=lambda: BEGAN.timestamp() + now), *items)


def listed(found: PodTable, *items: dict[str, Any]) -> PodTable:
    for item in items:
        found.listed(item)
    found.complete()
    return found


def name(found: PodTable, ip: str = IP) -> str | None:
    info = found.find(ip)
    return info.name if info else None


@pytest.mark.parametrize(
    ("item", "answers"),
    [
        (pod("p", IP), True),
        (pod("p", "fd00::5", IP), True),
        (pod("p", OTHER), False),
        (pod("p"), False),
        (pod("p", IP, phase="Pending"), True),  # its init containers may call
        (pod("p", IP, phase="Succeeded"), False),
        (pod("p", IP, phase="Failed"), False),
        (pod("p", IP, host_network=True), False),
        (pod("p", IP, host_ip=IP), False),
        (pod("p", IP, deleted=1001), True),  # it has time to end
        (pod("p", IP, deleted=1000), False),
        (pod("p", IP, deleted=1001, states=["terminated"]), False),
        (pod("p", IP, deleted=1001, states=["terminated", "running"]), True),
        (pod("p", IP, states=["terminated"]), True),  # between two starts of its container
    ],
)
def test_who_answers(item: dict[str, Any], answers: bool) -> None:
    """In a list, and in events."""
    assert (name(table(item)) == "p") is answers
    by_event = table()
    by_event.event(event("ADDED", item))
    assert (name(by_event) == "p") is answers


def test_every_address_of_a_pod_answers() -> None:
    both = table(pod("p", IP, "fd00::5"))
    assert [name(both, ip) for ip in (IP, "::ffff:10.0.0.5", "fd00::5", "FD00::0:5", OTHER)] == ["p"] * 4 + [None]


@pytest.mark.parametrize("ends", ["MODIFIED", "DELETED"])
def test_a_pod_that_ended_answers_no_more(ends: str) -> None:
    found = table(pod("p", IP))
    found.event(event(ends, pod("p", IP, phase="Succeeded")))
    assert name(found) is None and len(found) == 0


def test_an_address_follows_the_pod() -> None:
    """A pod whose sandbox was made anew has another address; its old one is nobody's."""
    found = table(pod("p", IP))
    found.event(event("MODIFIED", pod("p", OTHER)))
    assert (name(found), name(found, OTHER)) == (None, "p")


def test_a_reused_address_is_the_newer_pods_alone() -> None:
    """Whatever is still told of the old pod, and after the newer one went."""
    found = table(pod("old", IP))
    found.event(event("ADDED", pod("new")))
    assert name(found) == "old"
    found.event(event("MODIFIED", pod("new", IP)))
    assert name(found) == "new"
    found.event(event("MODIFIED", pod("old", IP, deleted=2000)))
    assert name(found) == "new"
    found.event(event("DELETED", pod("new", IP)))
    assert name(found) is None
    found.event(event("DELETED", pod("old", IP)))
    found.event(event("ADDED", pod("third", IP)))
    assert name(found) == "third"


def test_an_older_pod_may_claim_later() -> None:
    """A node that started anew gives its pods new addresses: when an address was claimed counts, not the pod's age."""
    found = table(pod("young", IP, created=50), pod("old", OTHER, created=1))
    found.event(event("MODIFIED", pod("old", IP, created=1)))
    assert name(found) == "old"


@pytest.mark.parametrize(
    ("ages", "expected"),
    [((1, 2), "1"), ((2, 1), "0"), ((1, 1), None), ((2, 2, 1), None), ((1, 2, 2), None), ((2, 1, 2, 3), "3")],
)
def test_two_in_one_list(ages: tuple[int, ...], expected: str | None) -> None:
    """The one made last; nobody where two are as old."""
    assert name(table(*(pod(str(at), IP, created=age) for at, age in enumerate(ages)))) == expected


def test_a_new_list_remembers_who_claimed_last() -> None:
    """And that what it had not seen came since."""
    found = table(pod("young", IP, created=50), pod("old", OTHER, created=1))
    found.event(event("MODIFIED", pod("old", IP, created=1)))
    again = listed(found.successor(), pod("young", IP, created=50), pod("old", IP, created=1))
    assert name(again) == "old"
    third = listed(again.successor(), pod("ancient", IP, created=0), pod("old", IP, created=1))
    assert name(third) == "ancient"
    assert name(listed(third.successor(), pod("old", IP, created=1))) is None, "lost once, lost for good"


def test_a_new_list_forgets_who_is_not_in_it() -> None:
    found = table(pod("p", IP), pod("q", OTHER))
    again = listed(found.successor(), pod("q", OTHER))
    assert (name(again), name(again, OTHER), len(again)) == (None, "q", 1)


def test_no_more_pods_than_there_is_room_for() -> None:
    """What is left out is counted, answers to nothing, and still takes its address from another."""
    found = table(pod("p", IP), pod("q", OTHER), most=2)
    found.event(event("ADDED", pod("r", IP)))
    assert (name(found), len(found), found.left_out) == (None, 2, 1)
    found.event(event("DELETED", pod("q", OTHER)))
    found.event(event("ADDED", pod("s", OTHER)))
    found.event(event("DELETED", pod("p", IP)))
    found.event(event("MODIFIED", pod("r", OTHER)))
    assert name(found, OTHER) is None, "when r came to its address nobody knows"
    again = listed(found.successor(), pod("s", OTHER, created=9), pod("r", OTHER, created=1))
    assert (name(again, OTHER), again.left_out) == ("s", 0)


def test_versions() -> None:
    """Each event says up to where everything is known; a bookmark says nothing else."""
    found = table(pod("p", IP))
    assert found.event(event("ADDED", pod("q", OTHER) | {})) != ""
    assert found.event(event("BOOKMARK", {"metadata": {"resourceVersion": "77"}})) == "77"
    assert (name(found), name(found, OTHER)) == ("p", "q")


@pytest.mark.parametrize(
    ("what", "raised", "match"),
    [
        (event("ERROR", {"kind": "Status", "code": 410, "message": "secret"}), Gone, "^$"),
        (event("ERROR", {"kind": "Status", "code": 500, "message": "secret"}), WatchError, "^500$"),
        (event("ERROR", {"kind": "Status", "code": "secret"}), WatchError, "^unknown$"),
        (event("RENAMED", pod("p", IP)), Malformed, "kind"),
        (event("ADDED", {"metadata": {"resourceVersion": "5"}}), Malformed, "pod"),
        (event("DELETED", {"metadata": {"resourceVersion": "5"}}), Malformed, "pod"),
        ({"type": [], "object": pod("p", IP)}, Malformed, "kind"),
        ({"type": "ERROR", "object": None}, Malformed, "event"),
        ({}, Malformed, "event"),
        (None, Malformed, "event"),
        ([1], Malformed, "event"),
    ],
)
def test_what_ends_a_watch(what: Any, raised: type[Exception], match: str) -> None:
    with pytest.raises(raised, match=match):
        table().event(what)


UIDS, IPS = ["a", "b", "c", "d"], ["10.0.0.1", "10.0.0.2", "fd00::3"]
PODS = st.tuples(
    st.sampled_from(UIDS), st.frozensets(st.sampled_from(IPS), max_size=2), st.integers(0, 2), st.booleans()
)
STEPS = st.one_of(
    st.tuples(st.sampled_from(["PUT", "DELETED"]), PODS),
    st.tuples(st.just("LIST"), st.lists(PODS, max_size=4, unique_by=lambda each: each[0])),
)


class Model:
    """The same by hand: of each address the claims in the order in which they were seen."""

    def __init__(self) -> None:
        self.pods: dict[str, frozenset[str]] = {}
        self.claims: list[tuple[int, int, str, str]] = []  # when, age, address, pod
        self.now = 0

    def put(self, uid: str, ips: frozenset[str], age: int) -> None:
        old = self.pods.get(uid, frozenset())
        self.pods[uid] = ips
        self.claims += [(self.now, age, ip, uid) for ip in ips - old]

    def who(self, ip: str) -> str | None:
        """Of all claims that there ever were the last, if it is one pod's, and still holds."""
        mine = [claim for claim in self.claims if claim[2] == ip]
        top = {claim[3] for claim in mine if claim[:2] == max(mine)[:2]}
        if len(top) != 1:
            return None
        (uid,) = top
        return uid if ip in self.pods.get(uid, ()) else None


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_any_sequence(steps: list[Any]) -> None:
    """Whatever comes, each address is that of the last claim made on it, and nothing is kept of what is gone."""
    found, model = listed(PodTable()), Model()
    for kind, what in steps:
        model.now += 1
        if kind == "LIST":
            found = found.successor()
            model.pods = {uid: ips & model.pods.get(uid, frozenset()) for uid, ips, _, ended in what if not ended}
            for uid, ips, age, ended in what:
                found.listed(pod(uid, *ips, created=age, uid=uid, phase="Failed" if ended else "Running"))
                if not ended:
                    model.put(uid, ips, age)
            found.complete()
        else:
            uid, ips, age, ended = what
            gone = ended or kind == "DELETED"
            item = pod(uid, *ips, created=age, uid=uid, phase="Failed" if ended else "Running")
            found.event(event("MODIFIED" if kind == "PUT" else kind, item))
            if gone:
                model.pods.pop(uid, None)
            else:
                model.put(uid, ips, age)
        assert {ip: (at.uid if (at := found.find(ip)) else None) for ip in IPS} == {ip: model.who(ip) for ip in IPS}
        assert len(found) == len(model.pods)
        assert set(found._holders) == {ip for ips in model.pods.values() for ip in ips}

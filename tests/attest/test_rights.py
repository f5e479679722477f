"""What the documentation has a cluster grant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

DOCS = Path(__file__).parents[2] / "docs"
ONLY = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]


def manifests(page: str) -> list[dict[str, Any]]:
    """All objects of Kubernetes in the page's YAML."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)
    return [found for block in blocks for found in yaml.safe_load_all(block) if "apiVersion" in found]


@pytest.mark.parametrize("page", ["kubernetes.md", "identity.md"])
def test_pods_alone(page: str) -> None:
    """Pods may be read, and nothing else."""
    roles = [found for found in manifests(page) if "rules" in found]
    assert [role["rules"] for role in roles] == [ONLY]


def test_the_binding_fits() -> None:
    """Nothing but an account, the role and what binds the two."""
    account, role, binding = manifests("kubernetes.md")
    assert (account["kind"], role["kind"], binding["kind"]) == ("ServiceAccount", "ClusterRole", "ClusterRoleBinding")
    assert binding["roleRef"]["kind"] == "ClusterRole" and binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", **account["metadata"]}]

"""The redirection, for real: root, a cgroup v2 tree and a network namespace of the tests' own."""

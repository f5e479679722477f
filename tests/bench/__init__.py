"""The benchmark (scripts/bench): bare mitmdump against the suite, side by side, in front of the same upstream."""

"""Shared by the benchmarks: arms, rows, machine, networks to compare with."""

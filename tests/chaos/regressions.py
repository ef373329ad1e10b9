"""Runs that once failed, kept so that they don't again: (engine, seed, seconds, plan).

A plan is written out, not drawn, so that it stays what it was when the drawing changes."""

REGRESSIONS = []

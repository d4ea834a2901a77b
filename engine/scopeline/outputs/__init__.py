"""Outputs: what is made of a finished run on request, one file per kind; docs/results.md explains each."""

"""The page: one picture or a short clip dropped into a browser on this machine, judged as the engine judges it.

Needs no torch for pipelines of bundles. Nothing that is dropped is written to a disk or sent anywhere.
"""

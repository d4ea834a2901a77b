"""A made-up withdrawal through a made-up colon, with the truth written down for every frame.

It proves software: that segments, streams and reports say what was shown. It says nothing about patients.
"""

"""Every error Scopeline raises on purpose, so that a caller can catch by branch.

ScopelineError
├── ConfigError      a pipeline, profile or marks file is wrong; says where
├── BundleError      a model bundle is damaged or does not match its network
├── SourceError      a video or device cannot be opened or holds no picture
├── BackendError     a runtime is missing or refused the network
├── SinkError        results cannot be written or published
├── JournalError     a journal cannot be found or read
├── WireError        a subscriber cannot connect, or cannot read what it was sent
└── LedgerError      frames are unaccounted for: a defect of ours, never of the input

A lost signal is weather and not an error: it is published as a status.
"""


class ScopelineError(Exception):
    """The root: `except ScopelineError` catches everything that Scopeline raises on purpose."""


class ConfigError(ScopelineError):
    """A file that a person wrote is wrong; the message names the file and the place."""


class BundleError(ScopelineError):
    """A model bundle is damaged, or its network does not match what it says of itself."""


class SourceError(ScopelineError):
    """A video or device cannot be opened, or holds no picture."""


class BackendError(ScopelineError):
    """A runtime is not installed, or refused the network."""


class SinkError(ScopelineError):
    """Results cannot be written or published."""


class JournalError(ScopelineError):
    """A journal cannot be found or read. What is damaged inside one is a finding, not an error."""


class WireError(ScopelineError):
    """A subscriber cannot connect, or cannot read what it was sent."""


class LedgerError(ScopelineError):
    """The frame ledger does not balance."""

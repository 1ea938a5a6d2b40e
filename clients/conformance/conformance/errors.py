"""Errors of the harness."""


class ScenarioError(Exception):
    """A mistake in a scenario file: the scenario cannot be run."""


class Mismatch(Exception):
    """An answer that does not meet its expectation, or an answer that did not come."""


class RunnerEnded(Mismatch):
    """A runner that ended, or wrote something that is not an answer."""

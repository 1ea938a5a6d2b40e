"""Runs Django's own tests of cache backends, from its source distribution, on `TwintierCache`.

`run.py FOLDER`: the folder with the unpacked source of the installed version of Django.
"""

from __future__ import annotations

import sys
import unittest
from pathlib import Path

sys.path[:0] = [str(Path(sys.argv[1]) / "tests"), str(Path(__file__).parents[1])]

from world import World

world = World()

import django
from django.conf import settings
from django.test.utils import get_runner

PARAMS = {
    "BACKEND": "twintier.django.TwintierCache",
    "LOCATION": world.address,
    "OPTIONS": {"namespace": "django", "timeout": "30s", "strict": True},
}

settings.configure(
    ALLOWED_HOSTS=["testserver"],
    CACHES={"default": PARAMS},
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
    INSTALLED_APPS=["cache"],
    SECRET_KEY="tests",
    USE_TZ=False,
)
django.setup()

from cache.tests import BaseCacheTests, CacheMiddlewareTest, caches_setting_for_tests
from django.core.cache import cache
from django.test import TestCase, override_settings

# The service evicts by its memory, not by a number of entries.
NO_CULLING = {"cull", "zero_cull"}


@override_settings(CACHES=caches_setting_for_tests(base=PARAMS, exclude=NO_CULLING))
class TwintierCacheTests(BaseCacheTests, TestCase):
    """The tests that all of Django's backends pass."""

    def test_the_backend_is_that_of_twintier(self) -> None:
        self.assertEqual(type(cache._connections[cache._alias]).__name__, "TwintierCache")


@override_settings(
    CACHES={
        "default": PARAMS,
        "other": {**PARAMS, "KEY_PREFIX": "other", "TIMEOUT": 1},
        "timeout": {**PARAMS, "KEY_PREFIX": "timeout", "TIMEOUT": 300},
    }
)
class TwintierMiddlewareTests(CacheMiddlewareTest):
    """The tests of Django's cache of pages."""

    # It sets time.time() to the year 2016, by which gRPC computes deadlines.
    test_cache_control_max_age = None

    def setUp(self) -> None:
        super().setUp()
        cache.clear()


def main() -> int:
    """Runs the tests. Returns the number of failures."""
    runner = get_runner(settings)(verbosity=1)
    runner.setup_test_environment()
    loader = unittest.defaultTestLoader
    suite = unittest.TestSuite(
        loader.loadTestsFromTestCase(case) for case in (TwintierCacheTests, TwintierMiddlewareTests)
    )
    databases = runner.setup_databases()
    try:
        result = runner.run_suite(suite)
    finally:
        runner.teardown_databases(databases)
    # A suite that lost its tests must not pass.
    if result.testsRun < 69:
        print(f"only {result.testsRun} tests were run", file=sys.stderr)
        return 1
    return len(result.failures) + len(result.errors)


try:
    failures = main()
finally:
    world.close()
sys.exit(min(failures, 1))

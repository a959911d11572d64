"""What all tests share: how hypothesis searches, and how peers that are missing are answered for."""

import os

from hypothesis import HealthCheck, settings

pytest_plugins = ["sipcore.pytest_plugin"]

# Wall-clock deadlines would make a loaded machine fail; in CI the examples are the same on every run.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci" if os.environ.get("CI") else "default")

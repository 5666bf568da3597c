"""Assertions of the case runner explain themselves as those of a test do."""

import pytest

pytest.register_assert_rewrite("alarm_cases")

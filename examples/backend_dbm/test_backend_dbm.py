"""The dbm backend keeps the contract."""

import pytest

from backend_dbm import DbmBackend
from stanchion_conformance import Contract


class TestDbm(Contract):
    @pytest.fixture
    def backend(self, clock, tmp_path):
        backend = DbmBackend(tmp_path / "jobs", clock=clock)
        yield backend
        backend.close()

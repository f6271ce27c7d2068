"""The kit for tests of applications (`kit`), the clock that tests advance (`clock`), and the pytest plugins."""

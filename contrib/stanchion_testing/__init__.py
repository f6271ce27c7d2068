"""For tests: of applications (`kit`), of backends (`conformance`, `report`), and the clock that both move (`clock`)."""

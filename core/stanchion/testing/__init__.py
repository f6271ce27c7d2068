"""For tests: a clock to inject into backends (`clock`), and what every backend must pass (`conformance`)."""

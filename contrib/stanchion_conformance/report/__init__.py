"""What the conformance suite found, for each backend and claim: gathered, and written as a page or as JSON."""

"""The engine: use cases, each written once, over the verbs of a backend."""

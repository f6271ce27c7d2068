"""The model: pure rules and values. No I/O, no clock."""

"""The contract: what a backend must do, asks and answers."""

"""The contract: what a backend must do, and the values it is asked by and answers with."""

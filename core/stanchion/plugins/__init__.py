"""Plugins: the hooks, and who is called at each."""

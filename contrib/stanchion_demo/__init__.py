"""The demo: `stanchion demo` does real work on real files, and `--kill` kills its workers."""

"""The keeper: threads beside the loop that keep a worker's runs, so that no handler can stop them.

- The *guard* never waits for anything: it stops handlers whose time or lease is over, and sees whether everything
  else is alive.
- The *keeper* talks to the backend about runs: it records time limits, extends leases, watches for cancels.
- The *sweeper* does what may take long: it sweeps what is due, and runs what plugins do each second.
"""

from stanchion.worker.keeper.keeper import Keeper

__all__ = ["Keeper"]

"""Job groups: accepted, stored, dispatched, shown."""

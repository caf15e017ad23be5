"""Pictures, from saved rows and arrays only."""

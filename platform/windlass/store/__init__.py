"""What survives a restart: services, revisions and events, in SQLite."""

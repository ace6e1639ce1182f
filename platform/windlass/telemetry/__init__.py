"""What the platform shows of itself: metrics, its own log, and what instances print."""

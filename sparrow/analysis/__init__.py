"""Statistics on scores: intervals and paired tests."""

"""What a run sees: frames of videos and pages of rendered text, as uint8 arrays."""

"""Site files and limit profiles: what they may say, and every mistake in them with its position."""

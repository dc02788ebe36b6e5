"""Images that look alike."""

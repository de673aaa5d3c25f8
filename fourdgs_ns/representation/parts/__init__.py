"""What several representations share."""

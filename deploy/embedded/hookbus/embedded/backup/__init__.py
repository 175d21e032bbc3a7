"""A backup of the whole data folder while it runs, and its way back."""

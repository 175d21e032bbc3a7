"""The signer: a process of its own, which alone holds the private key of the log."""

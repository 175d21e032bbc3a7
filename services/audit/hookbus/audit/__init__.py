"""The audit service: an encrypted transparency log whose past its own administrator cannot rewrite unseen."""

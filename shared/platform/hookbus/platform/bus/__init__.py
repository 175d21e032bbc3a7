"""The bus: streams and consumers, batches in, requests and replies, events out."""

"""The console at ``/console``: a page in the browser over the public API, with that API's own rights and records."""

"""The conformance suite of the client libraries. README.md in the parent folder documents it."""

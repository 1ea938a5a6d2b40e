"""Generated messages and stubs of the service's contract, proto/twintier/v1."""

"""The test suite; `make test` runs all of it, `make quick` what needs no browser, GPU, Node or system package."""

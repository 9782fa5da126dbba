"""A site of three machines on one: what the tests of clusters run on."""

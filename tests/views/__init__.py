"""Tests of views: a package, because some have the names of tests of analysis."""

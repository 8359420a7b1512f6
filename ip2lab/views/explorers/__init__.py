"""Explorers: widgets around pictures, whose panels follow what a person chooses."""

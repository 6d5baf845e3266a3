"""Attacks: one test for each row of the attack corpus, in every tier."""

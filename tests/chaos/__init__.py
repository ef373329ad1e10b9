"""The proof: a cluster under faults, clients that keep the rules, and a checker over all that happened."""

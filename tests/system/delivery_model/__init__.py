"""The scripts compared with a model of a queue: at random, and in every order there is."""

"""TOML files to the model, with every fault in them."""

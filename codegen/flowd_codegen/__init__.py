"""flowd-gen: schemas in TOML become typed job classes in Python.

    *.toml ── source ── parse ──▶ schema ── plan ── render ── layout ── write ──▶ *.py
                      every fault      ready strings

`schema` is the model in the middle: what is before it knows no Python source, what is
behind it knows no TOML. Importing this package imports nothing else.
"""

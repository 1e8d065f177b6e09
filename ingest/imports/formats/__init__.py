"""One module a form of file: what it recognises, and how its rows become messages. ``known`` lists them."""

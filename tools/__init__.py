"""What is made from the code: run by `make`, no part of Muster itself."""

"""`make soak`: the checks of reliability at full size, and the page docs/reliability.md that tells of them."""

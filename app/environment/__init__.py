"""Read what an operator hands over: the `.env` file, the private key, the address of the database."""

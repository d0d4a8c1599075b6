"""How large language models work: reference implementations, in the order in which the course tells them."""

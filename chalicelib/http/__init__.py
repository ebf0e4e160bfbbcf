"""Everything of HTTP but the routes: requests, answers, problems, the contract."""

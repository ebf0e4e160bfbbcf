"""All of HTTP except the routes: requests, responses, problems, the contract, access."""

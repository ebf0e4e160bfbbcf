"""All of HTTP except the routes: requests, responses, problems, the OpenAPI document, access."""

"""The product store on MongoDB."""

"""Services to put under load; each is a FastAPI application that a user could have written."""
